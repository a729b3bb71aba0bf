"""Groups whose responses come from several players: the policy, the reference, their mixture."""

from __future__ import annotations

import dataclasses

import gymnasium as gym
import pytest
import torch
from torch import Tensor

from agents import PPO, collect
from agents.policy import Policy
from agents.rollouts.players import collect_by_players, geometric_mixture, played_by
from rlhf_env.engine.language_model import LanguageModel
from rlhf_env.rollout import Rollout
from rlhf_env.task import Task
from tests.agents.episodes import make_envs
from tests.rlhf_env.toy15_tables import ACTIONS, STATES
from tests.toys import theta_policy, tiny_gpt2, tiny_llama_task


def toy_players(task: Task) -> tuple[Policy, LanguageModel]:
    """The theta policy and the reference."""
    return Policy(theta_policy(task), 3), LanguageModel(task.reference, 3)


def logprobs_by_table(rollout: Rollout, table: Tensor) -> Tensor:
    """Log-probability of each toy15 response under a table [3, 7], read directly."""
    every = {tuple(a[a >= 0].tolist()): i for i, a in enumerate(ACTIONS)}
    rows = torch.tensor([every[tuple(response.tolist())] for response in rollout.responses()])
    chosen = table.log_softmax(dim=0)[ACTIONS.clamp(min=0), STATES]
    return torch.where(ACTIONS >= 0, chosen, 0.0).sum(dim=1)[rows]


def test_one_player_is_an_ordinary_rollout(toy15: Task) -> None:
    envs = make_envs(toy15, 5)
    policy, _ = toy_players(toy15)
    expected = collect(envs, policy, 24, seed=(3, 0), group_size=2, kl_coef=0.3)
    found = collect_by_players(envs, [policy, policy], 24, seed=(3, 0), kl_coef=0.3)
    for field in dataclasses.fields(Rollout):
        if isinstance(value := getattr(expected, field.name), Tensor):
            assert torch.equal(getattr(found, field.name), value), field.name


def test_each_place_has_its_player(toy15: Task) -> None:
    """Log-probabilities are those of who spoke; both sides answer the same prompt."""
    policy, reference = toy_players(toy15)
    opponent = geometric_mixture(policy, reference, 0.25)
    rollout = collect_by_players(make_envs(toy15, 5), [policy, opponent], 64, seed=1)
    assert rollout.group.tolist() == [i // 2 for i in range(64)]
    theta, ref = (next(lm.model.parameters()).detach() for lm in (policy.lm, reference))
    sums = rollout.logprobs.sum(dim=1)
    first, second = torch.arange(0, 64, 2), torch.arange(1, 64, 2)
    ours = logprobs_by_table(rollout.take(first), theta)
    torch.testing.assert_close(sums[first], ours, atol=1e-5, rtol=0)
    theirs = logprobs_by_table(rollout.take(second), 0.75 * theta + 0.25 * ref)
    torch.testing.assert_close(sums[second], theirs, atol=1e-5, rtol=0)
    assert not torch.allclose(sums[second], logprobs_by_table(rollout.take(second), theta))


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_the_ends_of_the_mixture(weight: float) -> None:
    """Weight 0 says what the policy says, to the bit; weight 1 what the reference does."""
    task = tiny_llama_task()
    envs = make_envs(task, 3)
    policy = Policy(tiny_gpt2(), 32, temperature=0.8)
    reference = LanguageModel(task.reference, 32)
    mixture = geometric_mixture(policy, reference, weight)
    player = policy if weight == 0.0 else played_by(policy, reference)
    found = collect_by_players(envs, [mixture], 8, seed=2)
    expected = collect_by_players(envs, [player], 8, seed=2)
    assert torch.equal(found.tokens, expected.tokens)
    torch.testing.assert_close(found.logprobs, expected.logprobs, atol=1e-6, rtol=1e-5)


def test_players_see_the_same_prompts_and_other_numbers() -> None:
    """Two players that are one model do not say the same: places have their own numbers."""
    task = tiny_llama_task()
    envs = make_envs(task, 4)
    policy = Policy(tiny_gpt2(), 32)
    twin = played_by(policy, policy.lm)
    rollout = collect_by_players(envs, [policy, twin], 32, seed=0)
    prompts, responses = rollout.prompts(), rollout.responses()
    pairs = list(zip(range(0, 32, 2), range(1, 32, 2), strict=True))
    assert all(torch.equal(prompts[a], prompts[b]) for a, b in pairs)
    assert any(not torch.equal(responses[a], responses[b]) for a, b in pairs)


def test_what_must_be_stepped_is_refused(toy15: Task) -> None:
    class Stepped(gym.vector.VectorWrapper):
        """It cannot transform a rollout."""

    agent = PPO(make_envs(toy15))
    with pytest.raises(ValueError, match="decoded at once"):
        collect_by_players(Stepped(agent.base), [agent.policy], 4, seed=0)
