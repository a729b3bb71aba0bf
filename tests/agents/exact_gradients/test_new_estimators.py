"""Expected gradients under Monte Carlo critics, lambda by length, Clip-Cov and KL-Cov."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from agents import PPO, RLOO, Agent
from agents.exact_gradients import exact_gradients
from agents.exact_gradients.derivatives import trained_weights
from agents.exact_gradients.responses import every_response
from agents.exact_gradients.state_returns import state_returns
from rlhf_env.task import Task
from tests.agents.critics.test_check import EXACT
from tests.agents.episodes import make_envs
from tests.toys import theta_policy

PLAIN: dict[str, Any] = {"whiten_advantages": False, "aggregation": "sum"}


def agent_of(kind: type[Agent], task: Task, **settings: Any) -> Any:
    settings = {"episodes_per_update": 4, "aggregation": "sum", **settings}
    return kind(make_envs(task, kl_coef=0.5), policy=theta_policy(task), **settings)


def test_state_returns_are_the_values_of_toy15(toy15: Task) -> None:
    agent = agent_of(PPO, toy15)
    responses = every_response(agent, agent.policy)
    learned = agent.learned(responses.rollout, agent.policy.sampler_only(responses.rollout))
    found = state_returns(dataclasses.replace(responses, rollout=learned), 1.0)
    by_prefix = {
        prefix: v for (_, prefix), v in zip(found.number, found.values["return"], strict=True)
    }
    states = [(), (1,), (2,), (1, 1), (1, 2), (2, 1), (2, 2)]
    assert [by_prefix[state].item() for state in states] == pytest.approx(EXACT, abs=1e-5)


@pytest.mark.parametrize("gae_lambda", [1.0, 0.5, 0.0])
def test_a_monte_carlo_critic_is_unbiased_at_any_lambda(toy15: Task, gae_lambda: float) -> None:
    """A few continuations are as good as the exact values on average, and noisier."""
    settings = {**PLAIN, "gae_lambda": gae_lambda}
    found = {
        rollouts: exact_gradients(
            agent_of(PPO, toy15, critic="monte_carlo", critic_rollouts=rollouts, **settings),
            draws=2000,
        )
        for rollouts in (1, 16)
    }
    for one in found.values():
        assert one.standard_error is None
        assert one.relative_bias <= 1e-6
    exact = agent_of(PPO, toy15, value_coef=0.0, **settings)
    with torch.no_grad():
        exact.policy.value_head.weight.copy_(torch.tensor([EXACT]))
    noise = exact_gradients(exact).noise_to_signal
    assert noise < found[16].noise_to_signal < found[1].noise_to_signal
    # Sixteen times as many continuations leave a sixteenth of what they add to the variance.
    added = [found[k].noise_to_signal ** 2 - noise**2 for k in (1, 16)]
    assert added[0] / added[1] == pytest.approx(16.0, rel=0.25)


def test_whitened_advantages_are_not_linear_in_the_values(toy15: Task) -> None:
    found = exact_gradients(
        agent_of(
            PPO,
            toy15,
            critic="monte_carlo",
            critic_rollouts=2,
            minibatches=1,
            episodes_per_update=2,
        ),
        draws=64,
    )
    assert found.standard_error is not None


def mean_of_updates(agent: Any, updates: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the mean gradient of the real agent's updates, and its standard error."""
    found = []
    for _ in range(updates):
        agent.update(agent.collect())
        slopes = [p.grad for p in trained_weights(agent)]
        found.append(torch.cat([-s.flatten() for s in slopes if s is not None]).double())
    stacked = torch.stack(found)
    return stacked.mean(0), stacked.std(0) / updates**0.5


REAL: list[tuple[type[Agent], dict[str, Any]]] = [
    (PPO, {**PLAIN, "gae_lambda": 0.5, "critic": "monte_carlo", "critic_rollouts": 2}),
    (PPO, {**PLAIN, "length_adaptive_lambda": 0.6, "value_coef": 0.0}),
    (RLOO, {"group_size": 4, "clip_cov_fraction": 0.1, "clip_cov_band": (0.0, 5.0)}),
]


@pytest.mark.parametrize(("kind", "settings"), REAL)
def test_the_expectation_is_that_of_real_updates(
    toy15: Task, kind: type[Agent], settings: dict[str, Any]
) -> None:
    still = {"learning_rate": 0.0, "max_grad_norm": 1e9, "epochs": 1, "minibatches": 1}
    agent = agent_of(kind, toy15, **still, **settings)
    expected = exact_gradients(agent, draws=2000)
    mean, error = mean_of_updates(agent, 400)
    off = (mean - expected.expected).abs() / error.clamp(min=1e-12)
    assert off[error > 1e-9].max() < 4.5
    # The noise too: of a unit's gradient, over as many units as an update has.
    units = agent.config.episodes_per_update // expected.unit_episodes
    spread = float((error.square() * 400).sum()) * units
    assert spread == pytest.approx(float(expected.variance.sum()), rel=0.2)


def test_kl_cov_changes_nothing_at_the_policy_that_acted(toy15: Task) -> None:
    settings: dict[str, Any] = {"group_size": 2, "minibatches": 2}
    plain = exact_gradients(agent_of(RLOO, toy15, **settings))
    held = exact_gradients(agent_of(RLOO, toy15, **settings, kl_cov_fraction=0.5))
    assert torch.allclose(plain.expected, held.expected, atol=1e-6)
    pulled = exact_gradients(
        agent_of(RLOO, toy15, **settings, kl_cov_fraction=0.5),
        behavior=toy15.reference,
        is_stale=True,
        draws=128,
    )
    free = exact_gradients(
        agent_of(RLOO, toy15, **settings), behavior=toy15.reference, is_stale=True
    )
    assert (pulled.expected - free.expected).norm() > 0.05
