"""The gradients of PPO and GRPO on all episodes of "toy15", against exact numbers."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from agents import GRPO, PPO
from rlhf_env.task import Task
from tests.agents.episodes import (
    as_bandit,
    cosine,
    every_toy15_episode,
    expected_gradient,
    make_envs,
)
from tests.toys import theta_policy

# V of the states (), (1), (2), (1,1), (1,2), (2,1), (2,2).
CRITICS = {
    "exact": [0.113463, 1.556680, -0.605027, 1.906755, 0.878010, 0.906862, -1.078160],
    "zero": [0.0] * 7,
    "one": [1.0] * 7,
    "half the length": [0.0, 0.5, 0.5, 1.0, 1.0, 1.0, 1.0],
}
LAMBDAS = (1.0, 0.95, 0.5, 0.0)
COSINES = {
    "exact": (1.0000, 1.0000, 1.0000, 1.0000),
    "zero": (1.0000, 0.9997, 0.8878, 0.1509),
    "one": (1.0000, 0.9968, 0.0747, -0.4520),
    "half the length": (1.0000, 0.9984, 0.3743, -0.3694),
}


def ppo(task: Task, critic: str = "zero", **settings: Any) -> PPO:
    agent = PPO(
        make_envs(task, kl_coef=0.5),
        policy=theta_policy(task),
        **{"gae_lambda": 1.0, "whiten_advantages": False, "value_coef": 0.0, **settings},
    )
    with torch.no_grad():
        agent.policy.value_head.weight.copy_(torch.tensor([CRITICS[critic]]))
    return agent


def group_agent(task: Task, **settings: Any) -> GRPO:
    envs = make_envs(task, kl_coef=0.5)
    return GRPO(envs, policy=theta_policy(task), scale_by_std=False, **settings)


def test_token_and_bandit_gradient_are_equal(toy15: Task) -> None:
    """Trap C15."""
    agent = ppo(toy15)
    episodes = every_toy15_episode(agent)
    token = expected_gradient(agent, episodes)
    bandit = expected_gradient(agent, as_bandit(episodes))
    assert (token - bandit).abs().max().item() < 1e-6
    assert token.norm().item() == pytest.approx(0.311532, abs=1e-6)
    assert token[:, 0].tolist() == pytest.approx([0.053833, 0.166889, -0.220722], abs=1e-6)


def test_the_group_gradient_is_the_same(toy15: Task) -> None:
    agent = group_agent(toy15)
    episodes = every_toy15_episode(agent)
    for rollout in (episodes, as_bandit(episodes)):
        found = expected_gradient(agent, rollout)
        assert found.norm().item() == pytest.approx(0.311532, abs=1e-6)
        assert found[:, 0].tolist() == pytest.approx([0.053833, 0.166889, -0.220722], abs=1e-6)


@pytest.mark.parametrize("critic", CRITICS)
def test_lambda_one_needs_no_critic_and_less_needs_a_good_one(toy15: Task, critic: str) -> None:
    """Trap C14."""
    truth = expected_gradient(agent := ppo(toy15), every_toy15_episode(agent))
    for gae_lambda, expected in zip(LAMBDAS, COSINES[critic], strict=True):
        agent = ppo(toy15, critic, gae_lambda=gae_lambda)
        found = expected_gradient(agent, every_toy15_episode(agent))
        assert cosine(found, truth) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("gamma", "norm", "to_undiscounted", "to_slope"),
    [
        (0.95, 0.287875, 0.999683, 0.999602),
        (0.9, 0.265361, 0.998571, 0.998253),
        (0.5, 0.131350, 0.887840, 0.898818),
        (0.0, 0.107977, 0.150921, 0.492798),
    ],
)
def test_discounted_gradients(
    toy15: Task, gamma: float, norm: float, to_undiscounted: float, to_slope: float
) -> None:
    """Trap C10: PPO's form leaves gamma^t out; GRPO's is the slope of the discounted objective."""
    plain, agent = ppo(toy15), ppo(toy15, gamma=gamma)
    episodes = every_toy15_episode(plain)
    found = expected_gradient(agent, episodes)
    assert found.norm().item() == pytest.approx(norm, abs=1e-6)
    undiscounted = expected_gradient(plain, episodes)
    assert cosine(found, undiscounted) == pytest.approx(to_undiscounted, abs=1e-6)
    slope = expected_gradient(group_agent(toy15, gamma=gamma), episodes)
    assert cosine(found, slope) == pytest.approx(to_slope, abs=1e-6)
    # By name, either agent follows either.
    usual = expected_gradient(group_agent(toy15, gamma=gamma, gradient_form="standard"), episodes)
    assert torch.allclose(usual, found, atol=1e-6)
    named = expected_gradient(ppo(toy15, gamma=gamma, gradient_form="discounted"), episodes)
    assert torch.allclose(named, slope, atol=1e-6)


def test_targets_carry_no_gradient(toy15: Task) -> None:
    """Trap A16."""
    agent = ppo(toy15, "one", gae_lambda=0.5)
    episodes = every_toy15_episode(agent)
    old = agent.policy.evaluate_episodes(episodes.tokens, episodes.is_action)
    targets = agent.learner.algorithm.targets(episodes, old, agent.base.mdp.reference)
    for record in (targets, old):
        parts = list(dataclasses.asdict(record).values())
        parts += [t for part in parts if isinstance(part, dict) for t in part.values()]
        assert not any(t.requires_grad for t in parts if isinstance(t, torch.Tensor))


def test_returns_come_from_raw_advantages(toy15: Task) -> None:
    """Trap C12: whitening does not reach the critic's target."""
    agent = ppo(toy15, "one")
    episodes = every_toy15_episode(agent)
    old = agent.policy.evaluate_episodes(episodes.tokens, episodes.is_action)
    raw = agent.learner.algorithm.targets(episodes, old, agent.base.mdp.reference)
    white = ppo(toy15, "one", whiten_advantages=True)
    whitened = white.learner.algorithm.targets(episodes, old, agent.base.mdp.reference)
    assert torch.equal(raw.returns["return"], whitened.returns["return"])
    assert torch.equal(raw.returns["return"], raw.advantages + raw.values["return"])
    assert not torch.allclose(raw.advantages, whitened.advantages)
