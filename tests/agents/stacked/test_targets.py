"""Targets of several runs at once: the formulas with a first axis of runs, and when it is used."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import pytest
import torch
from torch import Tensor

from agents import GRPO, PPO, RLOO, Reinforce
from agents.agent import Agent
from agents.entropy.covariance import covariances, mean_covariance
from agents.math import (
    center,
    discount_weights,
    discounted_returns,
    explained_variance,
    gae,
    masked_mean,
    scale_to_unit_variance,
    whiten,
)
from agents.math.aggregation import aggregation_weights, mean_over_decisions
from agents.stacked.stack import Stack

# Two runs of two episodes; the second episode of each is shorter.
MASK = torch.tensor([[[True, True], [True, False]], [[True, True], [True, False]]])
REWARDS = torch.tensor([[[1.0, 2.0], [6.0, 9.0]], [[2.0, 2.0], [2.0, 9.0]]])
GAMMAS = torch.tensor([0.5, 1.0], dtype=torch.float64)[:, None, None].expand(2, 2, 2)


def close(found: Tensor, expected: Any) -> None:
    torch.testing.assert_close(found, torch.tensor(expected), atol=1e-6, rtol=0.0)


def test_statistics_are_of_each_run() -> None:
    close(masked_mean(REWARDS, MASK), [3.0, 2.0])
    close(center(REWARDS, MASK), [[[-2.0, -1.0], [3.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]])
    # The squares 4, 1 and 9 have the mean 14/3.
    root = (14 / 3) ** 0.5
    whitened = [[[-2 / root, -1 / root], [3 / root, 0.0]], [[0.0, 0.0], [0.0, 0.0]]]
    close(whiten(REWARDS, MASK), whitened)
    kept = [[[3 - 2 / root, 3 - 1 / root], [3 + 3 / root, 0.0]], [[2.0, 2.0], [2.0, 0.0]]]
    close(scale_to_unit_variance(REWARDS, MASK), kept)


def test_each_run_has_its_discount() -> None:
    close(discount_weights(MASK, GAMMAS), [[[1.0, 0.5], [1.0, 0.0]], [[1.0, 1.0], [1.0, 0.0]]])
    returns = [[[2.0, 2.0], [6.0, 0.0]], [[4.0, 2.0], [2.0, 0.0]]]
    close(discounted_returns(REWARDS, MASK, GAMMAS), returns)
    # Without values, and with lambda 1/2, a reward weighs gamma/2 one decision earlier.
    nothing = torch.zeros_like(REWARDS)
    advantages = [[[1.5, 2.0], [6.0, 0.0]], [[3.0, 2.0], [2.0, 0.0]]]
    close(gae(REWARDS, nothing, MASK, nothing[..., 0], GAMMAS, 0.5), advantages)


def test_explained_variance_and_covariance_are_of_each_run() -> None:
    values = torch.tensor([[[1.0, 2.0], [6.0, 0.0]], [[1.0, 2.0], [3.0, 0.0]]])
    close(explained_variance(values, REWARDS, MASK), [1.0, 0.0])
    parts = covariances(values, REWARDS, MASK)
    found = mean_covariance(parts, MASK)
    torch.testing.assert_close(found, torch.tensor([14 / 3, 0.0]).double(), atol=1e-6, rtol=0.0)


def test_episodes_weigh_as_in_their_run_alone() -> None:
    mask = MASK.clone()
    mask[1, 1, 1] = True
    close(mean_over_decisions(mask), [[2 / 3, 2 / 3], [0.5, 0.5]])
    is_used = torch.tensor([[True, False], [False, False]])
    close(aggregation_weights("decision_mean", mask, is_used), [[1.0, 0.0], [0.0, 0.0]])
    close(aggregation_weights("episode_mean", mask, is_used), [[1.0, 0.0], [0.0, 0.0]])
    close(aggregation_weights("sum", mask, is_used), [[2.0, 0.0], [0.0, 0.0]])


@pytest.mark.parametrize("kind", [PPO, GRPO, RLOO, Reinforce])
def test_runs_of_one_shape_are_computed_at_once(
    kind: type[Agent], monkeypatch: pytest.MonkeyPatch
) -> None:
    envs = gym.make_vec("RLHF-v0", num_envs=4, task="toy15")
    seeds = {"gamma": 0.9, "seed": 1}, {"gamma": 0.8, "seed": 2}
    settings: dict[str, Any] = {"episodes_per_update": 64}
    stack = Stack([kind(envs, **settings, **each) for each in seeds])
    asked: list[Agent] = []
    monkeypatch.setattr(Agent, "targets", lambda agent, *_: asked.append(agent))
    stack.learn_once()
    assert not asked
