"""What is PPO's own: its critic, its granularity, its options."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from agents import PPO
from rlhf_env.tasks import load_task
from tests.agents.episodes import as_bandit, every_toy15_episode, make_envs
from tests.toys import theta_policy, tiny_gpt2_task
from wrappers.vector import MacroAction, SequenceBandit


def toy_agent(**settings: Any) -> PPO:
    task = load_task("toy15")
    return PPO(make_envs(task, 16), policy=theta_policy(task), **settings)


def test_whitening_spans_the_rollout() -> None:
    """Trap E7: not the minibatch."""
    agent = toy_agent()
    episodes = every_toy15_episode(agent)
    old = agent.policy.evaluate_episodes(episodes.tokens, episodes.is_action)
    targets = agent.learner.algorithm.targets(episodes, old, agent.base.mdp.reference)
    used = targets.advantages[targets.mask]
    assert len(used) == 41
    assert used.mean().item() == pytest.approx(0.0, abs=1e-6)
    assert used.square().mean().item() == pytest.approx(1.0, abs=1e-5)


def test_truncated_episodes_are_bootstrapped_and_terminated_ones_are_not() -> None:
    """Traps C1 and C2, through the agent: V is 2 everywhere, the rewards are nothing."""
    agent = toy_agent(gamma=1.0, gae_lambda=1.0, whiten_advantages=False)
    with torch.no_grad():
        agent.policy.value_head.bias.fill_(2.0)
    episodes = every_toy15_episode(agent)
    nothing = torch.zeros_like(episodes.rewards)
    truncated = episodes.replace(
        rewards=nothing, terminated=torch.arange(15) != 7
    )  # Episode 7 is (1, 1, 1), which has no EOS.
    old = agent.policy.evaluate_episodes(episodes.tokens, episodes.is_action)
    targets = agent.learner.algorithm.targets(truncated, old, agent.base.mdp.reference)
    assert targets.advantages[7].tolist() == [0.0, 0.0, 0.0]
    assert targets.advantages[8].tolist() == [-2.0, -2.0, -2.0]
    assert targets.returns["return"][7].tolist() == [2.0, 2.0, 2.0]
    assert targets.returns["return"][8].tolist() == [0.0, 0.0, 0.0]


def test_a_whole_response_can_be_one_decision() -> None:
    """Trap E15: the ratio of a response is the product over its tokens."""
    agent = toy_agent(whiten_advantages=False)
    episodes = as_bandit(every_toy15_episode(agent))
    old = agent.policy.evaluate_episodes(episodes.tokens, episodes.is_action)
    targets = agent.learner.algorithm.targets(episodes, old, agent.base.mdp.reference)
    assert targets.mask.shape == (15, 1)
    assert torch.allclose(targets.logprobs[:, 0], old.logprobs.sum(dim=1))
    assert torch.allclose(targets.advantages[:, 0], episodes.rewards.sum(dim=1), atol=1e-6)


@pytest.mark.parametrize("wrap", [SequenceBandit, lambda envs: MacroAction(envs, 2)])
def test_it_runs_at_every_granularity(wrap: Any) -> None:
    agent = PPO(wrap(make_envs(tiny_gpt2_task(), 8)), episodes_per_update=16)
    metrics = agent.learn(32, progress=False)[-1]
    assert metrics["ratio_max"] > 1
    assert metrics["value_loss"] > 0


def test_the_critic_learns_the_return() -> None:
    """A policy that stays: V of (), (1) and (2) approaches that of the reference."""
    agent = PPO(
        make_envs(load_task("toy15"), 64, kl_coef=0.0),
        episodes_per_update=512,
        learning_rate=0.05,
        gae_lambda=1.0,
        value_clip_range=10.0,
    )
    agent.policy.model.requires_grad_(False)
    history = agent.learn(20 * 512, progress=False)
    assert history[0]["explained_variance"] == pytest.approx(0.0, abs=1e-6)
    assert history[-1]["explained_variance"] > 0.4
    tokens = torch.tensor([[0, 1, 1], [0, 2, 1]])
    described = agent.policy.evaluate_tokens(tokens, torch.tensor([[False, True, True]] * 2))
    found = [*described.values[0, 1:].tolist(), described.values[1, 2].item()]
    assert found == pytest.approx([0.039595, 1.607749, -0.671151], abs=0.15)


def test_a_value_loss_of_any_size_is_clipped_with_the_policy() -> None:
    """Trap E21: one norm over both, and documented in the gradient's figure."""
    agent = toy_agent(value_coef=1e6, episodes_per_update=16, learning_rate=0.0)
    metrics = agent.learn(16, progress=False)[-1]
    assert metrics["gradient_norm"] > 1e3
    norms = [p.grad.norm() for p in agent.policy.parameters() if p.grad is not None]
    assert torch.stack(norms).norm().item() == pytest.approx(1.0, abs=1e-4)
