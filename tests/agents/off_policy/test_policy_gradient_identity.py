"""On-policy, a squared path loss with its value held fixed follows the RLHF policy gradient.

∇E[(log Z + log(pi/pi_ref) − r/beta)²] = −(2/beta) ∇J with k1 in the reward, whatever log Z is.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from agents import PCL, TBRM, Reinforce, TrajectoryBalance
from agents.exact_gradients import exact_gradients
from agents.gradients import expected_gradient
from rlhf_env.exact import evaluate
from rlhf_env.task import Task
from tests.agents.episodes import make_envs
from tests.toys import theta_policy
from wrappers.vector import SequenceBandit


def agent_of(kind: Any, task: Task, wrap: Any = None, **settings: Any) -> Any:
    envs = make_envs(task, 4, kl_coef=0.5)
    given = {"policy": theta_policy(task), "episodes_per_update": 4, **settings}
    return kind(envs if wrap is None else wrap(envs), **given)


@pytest.mark.parametrize("value", [0.0, 1.5])
def test_trajectory_balance_with_any_log_z(toy15: Task, value: float) -> None:
    """beta = 0.5, so that the factor is 4."""
    agent = agent_of(TrajectoryBalance, toy15, log_z="learned")
    with torch.no_grad():
        agent.policy.value_head.bias.fill_(value)
    found = exact_gradients(agent)
    torch.testing.assert_close(found.expected, 4 * found.truth, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("gamma", [0.8, 1.0])
def test_it_is_the_discounted_gradient_under_a_discount(toy15: Task, gamma: float) -> None:
    """The residual then has gamma^t log(pi/pi_ref); with one decision an episode there is none."""
    agent = agent_of(TrajectoryBalance, toy15, SequenceBandit, log_z="learned", gamma=gamma)
    found = exact_gradients(agent)
    torch.testing.assert_close(found.expected, 4 * found.truth, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("size", [2, 4])
def test_the_mean_of_a_group_shrinks_it_as_a_mean_baseline_does(toy15: Task, size: int) -> None:
    """A response is a part of its own baseline: (1 − 1/k) of the gradient is left."""
    agent = agent_of(TrajectoryBalance, toy15, group_size=size)
    found = exact_gradients(agent)
    factor = 4 * (1 - 1 / size)
    torch.testing.assert_close(found.expected, factor * found.truth, atol=1e-6, rtol=1e-6)


def test_path_consistency_of_whole_responses(toy15: Task) -> None:
    """Its square is of rewards, and half of it: the factor is beta. REINFORCE has the factor 1."""
    agent = agent_of(PCL, toy15, SequenceBandit)
    with torch.no_grad():
        agent.policy.value_head.bias.fill_(0.7)
    found = exact_gradients(agent)
    torch.testing.assert_close(found.expected, 0.5 * found.truth, atol=1e-6, rtol=1e-6)
    plain = expected_gradient(agent_of(Reinforce, toy15, SequenceBandit, baseline="none"))
    torch.testing.assert_close(found.expected, 0.5 * plain.mean, atol=1e-6, rtol=1e-6)


def test_a_normalizer_that_moves_adds_the_gradient_of_its_own(toy15: Task) -> None:
    """TBRM's V is of the logits that are trained: E[2 δ ∇V] comes on top, V = logsumexp at s_1."""
    agent = agent_of(TBRM, toy15)
    found = exact_gradients(agent)
    (table,) = agent.policy.model.parameters()
    value = table[:, 0].logsumexp(dim=0)
    (slope,) = torch.autograd.grad(value, table)
    residual = mean_residual(agent, toy15) + value.item()
    expected = 4 * found.truth - 2 * residual * slope.flatten().double()
    torch.testing.assert_close(found.expected, expected, atol=1e-5, rtol=1e-5)


def mean_residual(agent: Any, task: Task) -> float:
    """E[log(pi/pi_ref) − r/beta] = −J/beta."""
    return -evaluate(task, agent, kl_coef=0.5).objective / 0.5
