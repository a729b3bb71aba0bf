"""What must hold in every random conversation, under every density and for every agent.

Besides `test_inserted_tokens` (what is said changes no advantage, return or loss, and no gradient
goes through it) and `tests/rlhf_env/exact/test_brute_force.py` (the exact optimum).
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

import wrappers.vector as vector
from agents import collect
from agents.rollouts.decisions import is_decision
from agents.rollouts.discounting import returns_to_go
from rlhf_env.rollout import Rollout
from rlhf_env.task import Task
from tests.agents.rollouts.insertions import (
    AGENTS,
    COUNTS,
    B,
    T,
    indifferent_task,
    inserted,
    learned_numbers,
    make,
    random_episodes,
)
from tests.agents.rollouts.test_dialogues import policy_of
from tests.dialogues import COMMA, chatty, silent, talk_task
from tests.toys import EOS, tiny_llama_task

FEW = settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
# The environment of these tests says nothing below it, so that a reward can tell.
FIRST_FOREIGN = 24

DENSITIES: dict[str, Callable[[Any], Any]] = {
    "terminal": lambda envs: envs,
    "every_3": lambda envs: vector.EveryK(envs, k=3),
    "prefix_difference": vector.PrefixDifference,
    "prefix": vector.PrefixReward,
    "potential": lambda envs: vector.PotentialShaping(envs, gamma=0.9),
    "process": vector.ProcessReward,
    "process_raw": vector.RawProcessReward,
    "process_potential": lambda envs: vector.ProcessPotential(envs, gamma=0.9),
    "length": lambda envs: vector.LengthPenalty(envs, coef=0.1, free_tokens=2),
    "repetition": lambda envs: vector.RepetitionPenalty(envs, coef=0.1, n=2),
}


class OwnWords:
    """A reward that hears only what the agent may say."""

    def __call__(self, prompts: list[Tensor], responses: list[Tensor]) -> Tensor:
        return torch.stack([each[-1] for each in self.prefix_scores(prompts, responses)])

    def prefix_scores(self, prompts: list[Tensor], responses: list[Tensor]) -> list[Tensor]:
        own = [torch.where(ids < FIRST_FOREIGN, ids, 0).double() for ids in responses]
        return [torch.cat([ids.new_zeros(1), torch.sin(ids).cumsum(0)]) for ids in own]

    def step_scores(self, prompts: list[Tensor], histories: list[Tensor]) -> Tensor:
        return 2.0 * self(prompts, histories)


def own_words(task: Task) -> Task:
    reward = OwnWords()
    return dataclasses.replace(
        task, reward=reward, end_of_turn_id=COMMA, step_scores=reward.step_scores
    )


def ids_changed(rollout: Rollout) -> Rollout:
    """Episodes in which the agent and the environment have words of their own."""
    ids = torch.where(rollout.is_action, rollout.tokens % FIRST_FOREIGN, FIRST_FOREIGN + 3)
    prompt = torch.arange(ids.shape[1]) < rollout.prompt_lengths[:, None]
    return rollout.replace(tokens=torch.where(prompt, rollout.tokens, ids))


# -- (i) what is inserted changes nothing that is paid, nor what agents make of it -----------------
@pytest.mark.parametrize("density", DENSITIES)
@FEW
@given(st.integers(0, 10_000), COUNTS)
def test_inserted_tokens_change_no_reward(density: str, seed: int, rows: list[list[int]]) -> None:
    envs = DENSITIES[density](gym.make_vec("RLHF-v0", num_envs=1, task=own_words(talk_task())))
    rollout, own = random_episodes(seed, 1)
    counts = torch.tensor([[0, *row] for row in rows])
    wide, _ = inserted(rollout, own, counts)
    one, other = (_paid(envs, ids_changed(each)) for each in (rollout, wide))
    for name, term in one.reward_terms.items():
        where = one.is_action, other.is_action
        assert torch.allclose(term[where[0]], other.reward_terms[name][where[1]], atol=1e-6), name
        assert not other.reward_terms[name][~other.is_action].any()


def _paid(envs: Any, rollout: Rollout) -> Rollout:
    """The rewards of the wrappers on the rollout's own, whose score is that of `OwnWords`."""
    base = envs.unwrapped
    score = base.task.reward(rollout.prompts(), rollout.responses()).to(rollout.rewards)
    rollout = rollout.with_term("score", rollout.last_action * score[:, None])
    return rollout if envs is base else envs.rollout(rollout)


@pytest.fixture(scope="module")
def agents() -> dict[str, Any]:
    envs = gym.make_vec("RLHF-v0", num_envs=2, task=indifferent_task())
    # Densities add terms, for which a discount per term would need names.
    return {name: make(name, envs) for name in AGENTS if name != "PPO, a discount per term"}


@pytest.mark.slow
@pytest.mark.parametrize("density", DENSITIES)
@settings(max_examples=2, deadline=None)
@given(st.integers(0, 10_000), COUNTS)
def test_no_agent_sees_the_difference(
    agents: dict[str, Any], density: str, seed: int, rows: list[list[int]]
) -> None:
    envs = DENSITIES[density](gym.make_vec("RLHF-v0", num_envs=1, task=own_words(talk_task())))
    rollout, own = random_episodes(seed, 1)
    wide, wide_own = inserted(rollout, own, torch.tensor([[0, *row] for row in rows]))
    one, other = (_paid(envs, ids_changed(each)) for each in (rollout, wide))
    for name, agent in agents.items():
        found = learned_numbers(agent, one, own)
        again = learned_numbers(agent, other, wide_own)
        for key, value in found.items():
            assert torch.allclose(value.double(), again[key].double(), atol=1e-5), (name, key)


# -- (ii) what was said stays said -----------------------------------------------------------------
@pytest.mark.parametrize("density", DENSITIES)
@FEW
@given(st.integers(0, 10_000), st.lists(st.sampled_from([COMMA, EOS, 5, 6, 9]), min_size=14))
def test_earlier_ids_never_change(density: str, seed: int, said: list[int]) -> None:
    task = own_words(talk_task(chatty))
    envs = DENSITIES[density](gym.make_vec("RLHF-v0", num_envs=2, task=task))
    observation, _ = envs.reset(seed=seed)
    for token in said:
        before = [_text(observation, row) for row in range(2)]
        observation, _, terminated, _, _ = envs.step(torch.tensor([token, 9]).numpy())
        for row, action in enumerate((token, 9)):
            now = _text(observation, row)
            assert now[: len(before[row]) + 1] == [*before[row], action]
        if terminated.any():
            break


def _text(observation: dict[str, Any], row: int) -> list[int]:
    return observation["input_ids"][row][observation["attention_mask"][row] == 1].tolist()


# -- (iii) no KL through what the environment says -------------------------------------------------
@pytest.mark.parametrize("density", DENSITIES)
@settings(max_examples=3, deadline=None)
@given(st.integers(0, 10_000))
def test_only_actions_pay(density: str, seed: int) -> None:
    task = own_words(talk_task(chatty, kl_coef=0.3))
    envs = DENSITIES[density](gym.make_vec("RLHF-v0", num_envs=4, task=task))
    rollout = collect(envs, policy_of(envs), 6, seed=seed)
    quiet = ~rollout.is_action
    for name in ("logprobs", "ref_logprobs", "rewards", "log_ratio"):
        assert not getattr(rollout, name)[quiet].any()
    assert not any(term[quiet].any() for term in rollout.reward_terms.values())
    assert (rollout.decision[quiet] == -1).all()
    # The reference's part of the KL, on the agent's tokens and on no other.
    expected = 0.3 * rollout.ref_logprobs
    assert torch.allclose(rollout.reward_terms["kl"], expected, atol=1e-6)
    policy = policy_of(envs)
    described = policy.evaluate_rollout(rollout)
    for field in (described.logprobs, described.entropy, described.values):
        assert not field[quiet].any()
    assert torch.allclose(described.logprobs, rollout.logprobs, atol=1e-4)


# -- (iv) the discount counts decisions ------------------------------------------------------------
@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.0, 1.0), st.sampled_from([1, 2, T]), COUNTS)
def test_discounts_count_decisions(
    seed: int, gamma: float, macro: int, rows: list[list[int]]
) -> None:
    rollout, own = random_episodes(seed, macro)
    wide, _ = inserted(rollout, own, torch.tensor([[0, *row] for row in rows]))
    returns = returns_to_go(wide, is_decision(wide), gamma)
    for row in range(B):
        rewards = wide.rewards[row][wide.is_action[row]].double()
        number = wide.decision[row][wide.is_action[row]]
        for start in range(int(number.max()) + 1):
            due = sum(
                float(reward) * gamma ** (int(at) - start)
                for reward, at in zip(rewards, number, strict=True)
                if at >= start
            )
            assert float(returns[row, start]) == pytest.approx(due, abs=1e-4)


# -- (v) a user who says nothing is a single turn, to the last digit -------------------------------
def quiet_and_alone(envs_of: Callable[[Any], Any]) -> list[Any]:
    """The environments of a user with nothing to say, and of no user."""
    reward, task = OwnWords(), tiny_llama_task(horizon=6)
    # A batched product rounds its last bit as memory lies. Numbers of a rollout have 32 bits, so
    # that of a model of 64 is not among theirs.
    model = copy.deepcopy(task.reference).double()
    more: dict[str, Any] = {"reward": reward, "step_scores": reward.step_scores}
    alone = dataclasses.replace(task, reference=model, end_of_turn_id=EOS, **more)
    quiet = dataclasses.replace(alone, respond=silent, max_environment_tokens=1)
    # Texts of one width, as another one rounds differently.
    alone = dataclasses.replace(alone, max_prompt_tokens=alone.max_prompt_tokens + 1)
    return [envs_of(gym.make_vec("RLHF-v0", num_envs=4, task=task)) for task in (quiet, alone)]


@pytest.mark.parametrize("density", DENSITIES)
@settings(max_examples=3, deadline=None)
@given(st.integers(0, 10_000))
def test_silence_is_paid_like_a_single_turn(density: str, seed: int) -> None:
    quiet, alone = quiet_and_alone(DENSITIES[density])
    policy = policy_of(alone)
    for fast in (True, False):
        one, other = (
            collect(envs, copy.deepcopy(policy), 6, seed=seed, fast=fast, prompts=_prompts(envs))
            for envs in (quiet, alone)
        )
        for field in dataclasses.fields(Rollout):
            _assert_equal(getattr(one, field.name), getattr(other, field.name), field.name)


@pytest.mark.filterwarnings("ignore:no response of this rollout is finished")
@pytest.mark.parametrize("name", AGENTS)
def test_silence_teaches_what_a_single_turn_teaches(name: str) -> None:
    weights = []
    for envs in quiet_and_alone(lambda envs: envs):
        agent = make(name, envs, seed=3, learning_rate=1e-3)
        agent.learn(B, progress=False)
        weights.append(torch.cat([each.detach().flatten() for each in agent.policy.parameters()]))
    assert torch.allclose(*weights, rtol=0, atol=1e-9)


def _prompts(envs: Any) -> list[Tensor]:
    return list(envs.unwrapped.task.prompts)


def _assert_equal(one: Any, other: Any, name: str) -> None:
    if isinstance(one, Tensor):
        assert torch.equal(one, other), name
    elif one is not None:
        for key, value in one.items():
            assert torch.equal(value, other[key]), key
