"""The true gradient and the expected one, by the names that the outside world calls."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from agents import GRPO, PPO, RLOO, Agent
from agents.gradients import GradientReport, expected_gradient, true_gradient
from rlhf_env.task import Task
from tests.agents.episodes import make_envs
from tests.toys import theta_policy

ROOT = [0.053833, 0.166889, -0.220722]


def test_the_true_gradient_of_toy15(toy15: Task) -> None:
    """Worked out elsewhere by enumeration, and by finite differences to 6e-11."""
    found = true_gradient(toy15, theta_policy(toy15), kl_coef=0.5)
    assert found.dtype == torch.float64
    assert found.norm().item() == pytest.approx(0.311532, abs=1e-6)
    assert found.reshape(3, 7)[:, 0].tolist() == pytest.approx(ROOT, abs=1e-6)


@pytest.mark.parametrize(
    ("gamma", "cosine"), [(0.95, 0.999602), (0.9, 0.998253), (0.5, 0.898818), (0.0, 0.492798)]
)
def test_a_discount(toy15: Task, gamma: float, cosine: float) -> None:
    """The cosines of the usual estimator to the gradient of the discounted objective."""
    agent = agent_of(PPO, toy15, gae_lambda=1.0, whiten_advantages=False, gamma=gamma)
    report = expected_gradient(agent, gamma=gamma)
    assert report.cosine == pytest.approx(cosine, abs=1e-6)
    truth = true_gradient(toy15, agent, kl_coef=0.5, gamma=gamma)
    own = report.mean @ truth / report.mean.norm() / truth.norm()
    assert own.item() == pytest.approx(cosine, abs=1e-6)


def test_whatever_holds_the_policy(toy15: Task) -> None:
    agent = agent_of(PPO, toy15)
    held = [true_gradient(toy15, each, 0.5) for each in (agent, agent.policy, agent.policy.model)]
    assert torch.equal(held[0], held[1])
    assert torch.equal(held[0], held[2])
    before = copy.deepcopy(toy15.reference.state_dict())
    assert true_gradient(toy15, toy15.reference, 0.5).norm() > 0.1
    assert all(torch.equal(before[k], v) for k, v in toy15.reference.state_dict().items())
    assert not any(p.requires_grad for p in toy15.reference.parameters())


def agent_of(kind: type[Agent], task: Task, **settings: Any) -> Agent:
    settings = {"aggregation": "sum", "episodes_per_update": 16, **settings}
    return kind(make_envs(task, kl_coef=0.5), policy=theta_policy(task), **settings)


def test_a_report(toy15: Task) -> None:
    report = expected_gradient(agent_of(RLOO, toy15, group_size=2))
    assert isinstance(report, GradientReport)
    assert report.exact
    assert report.bias <= 1e-6
    assert report.bias_error == 0.0
    assert report.cosine == pytest.approx(1.0, abs=1e-9)
    assert report.noise_to_signal > 1.0
    assert torch.allclose(report.mean, true_gradient(toy15, theta_policy(toy15), 0.5), atol=1e-6)
    stale = expected_gradient(agent_of(RLOO, toy15, group_size=2), toy15.reference)
    assert stale.bias > 1e-3


def test_what_is_drawn_says_so(toy15: Task) -> None:
    """The mean over the decisions of 16 episodes cannot be enumerated."""
    report = expected_gradient(
        agent_of(GRPO, toy15, group_size=8, aggregation="decision_mean"), draws=16
    )
    assert not report.exact
    assert report.bias_error > 0


def test_numbers_out_of_range(toy15: Task) -> None:
    with pytest.raises(ValueError, match="kl_coef"):
        true_gradient(toy15, theta_policy(toy15), -1.0)
    with pytest.raises(ValueError, match="gamma"):
        true_gradient(toy15, theta_policy(toy15), 0.5, gamma=2.0)
