"""Exact policy gradients on "toy15": token form, bandit form, and the slope of the objective."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from rlhf_env.exact import evaluate
from rlhf_env.task import Task
from tests.rlhf_env.toy15_tables import ACTIONS, SCORES, action_logprobs
from tests.toys import theta_policy

BETA = 0.5
# gamma: objective, norm of the unweighted estimator, its cosine to the gradient at gamma 1, and to
# the gradient of the discounted objective.
DISCOUNTED = {
    1.0: (0.113463, 0.311532, 1.0, 1.0),
    0.95: (0.116895, 0.287875, 0.999683, 0.999602),
    0.9: (0.120067, 0.265361, 0.998571, 0.998253),
    0.5: (0.136071, 0.131350, 0.887840, 0.898818),
    0.0: (0.132658, 0.107977, 0.150921, 0.492798),
}


def test_token_and_bandit_gradient_are_equal(toy15: Task) -> None:
    """Trap C15."""
    token, bandit = token_gradient(toy15), bandit_gradient(toy15)
    assert (token - bandit).abs().max().item() < 1e-12
    assert token.norm().item() == pytest.approx(0.311532, abs=1e-6)
    assert token[:, 0].tolist() == pytest.approx([0.053833, 0.166889, -0.220722], abs=1e-6)
    assert evaluate(toy15, theta_policy(toy15), BETA).objective == pytest.approx(0.113463, abs=1e-6)


@pytest.mark.parametrize("gamma", DISCOUNTED)
def test_discounting_changes_objective_and_gradient(toy15: Task, gamma: float) -> None:
    objective, norm, cosine_to_undiscounted, cosine_to_slope = DISCOUNTED[gamma]
    found = evaluate(toy15, theta_policy(toy15), BETA, gamma).objective
    assert found == pytest.approx(objective, abs=1e-6)
    gradient = token_gradient(toy15, gamma)
    assert gradient.norm().item() == pytest.approx(norm, abs=1e-6)
    assert cosine(gradient, token_gradient(toy15)) == pytest.approx(
        cosine_to_undiscounted, abs=1e-6
    )
    slope = objective_slope(toy15, gamma)
    assert cosine(gradient, slope) == pytest.approx(cosine_to_slope, abs=1e-6)


def test_gradient_is_the_slope_of_what_evaluate_computes(toy15: Task) -> None:
    direction = token_gradient(toy15)
    step = 1e-3
    ends = []
    for sign in (1, -1):
        moved = theta_policy(toy15).double()
        with torch.no_grad():
            moved.lm_head.weight.add_(sign * step * direction)
        ends.append(evaluate(toy15, moved, BETA).objective)
    slope = (ends[0] - ends[1]) / (2 * step)
    assert slope == pytest.approx(direction.square().sum().item(), abs=1e-8)


def step_rewards(task: Task, logprobs: Tensor) -> Tensor:
    """[15, 3] the score at the last action, less beta times log pi − log ref at every action."""
    last = (ACTIONS >= 0).sum(dim=1) - 1
    rewards = -BETA * (logprobs - action_logprobs(task.reference))
    return rewards + SCORES[:, None] * (torch.arange(3) == last[:, None])


def token_gradient(task: Task, gamma: float = 1.0) -> Tensor:
    """[V, S] E Σ_t grad log pi(a_t|s_t) · discounted reward to go, without the factor gamma^t."""
    policy = theta_policy(task).double()
    logprobs = action_logprobs(policy)
    rewards = step_rewards(task, logprobs.detach())
    to_go = torch.zeros(15, 4, dtype=torch.float64)
    for t in (2, 1, 0):
        to_go[:, t] = rewards[:, t] + gamma * to_go[:, t + 1]
    weights = logprobs.detach().sum(dim=1).exp()[:, None] * to_go[:, :3]
    return gradient_of((weights * logprobs).sum(), policy)


def bandit_gradient(task: Task) -> Tensor:
    """[V, S] E grad log pi(response) · (score − beta · log-ratio of the response)."""
    policy = theta_policy(task).double()
    logprobs = action_logprobs(policy).sum(dim=1)
    log_ratios = logprobs.detach() - action_logprobs(task.reference).sum(dim=1)
    weights = logprobs.detach().exp() * (SCORES - BETA * log_ratios)
    return gradient_of((weights * logprobs).sum(), policy)


def objective_slope(task: Task, gamma: float) -> Tensor:
    """[V, S] the gradient of the discounted objective itself, through the probabilities."""
    policy = theta_policy(task).double()
    logprobs = action_logprobs(policy)
    discounts = torch.tensor([1.0, gamma, gamma**2], dtype=torch.float64)
    returns = (discounts * step_rewards(task, logprobs)).sum(dim=1)
    return gradient_of((logprobs.sum(dim=1).exp() * returns).sum(), policy)


def gradient_of(value: Tensor, policy: torch.nn.Module) -> Tensor:
    (gradient,) = torch.autograd.grad(value, list(policy.parameters()))
    return gradient


def cosine(left: Tensor, right: Tensor) -> float:
    return (left.flatten() @ right.flatten() / (left.norm() * right.norm())).item()
