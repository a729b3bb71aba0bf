"""A critic whose values are means of continuations: what they are on average, and their noise."""

from __future__ import annotations

import dataclasses
from functools import partial

import numpy as np
import torch

from agents.agent import Agent
from agents.exact_gradients.derivatives import LossDerivatives
from agents.exact_gradients.responses import every_response
from agents.exact_gradients.state_returns import StateReturns, state_returns
from agents.exact_gradients.units import Units, drawn_updates
from agents.settings.discount import discount_of

_PROBES = 6


def continuations_of(agent: Agent) -> StateReturns | None:
    """Return what a Monte Carlo critic draws from; None for all other agents."""
    if not getattr(agent.config, "is_monte_carlo", False):
        return None
    # The policy itself goes on, whoever sampled the episodes.
    responses = every_response(agent, agent.policy)
    said = agent.policy.sampler_only(responses.rollout)
    learned = dataclasses.replace(responses, rollout=agent.learned(responses.rollout, said))
    return state_returns(learned, *discount_of(agent.config))


def with_drawn_values(
    rule: LossDerivatives, continued: StateReturns, generator: np.random.Generator
) -> LossDerivatives:
    """Return a loss whose values are drawn anew whenever it is asked."""
    samples = rule.agent.config.critic_rollouts  # type: ignore[attr-defined]
    drawn = partial(continued.drawn, samples=samples, generator=generator)
    return dataclasses.replace(rule, values=drawn)


def repeated(units: Units, draws: int) -> Units:
    """Return the same updates several times, as each time the values are others."""
    if units.is_drawn:
        return units
    times = max(1, draws // len(units))
    return dataclasses.replace(
        units, rows=units.rows.repeat(times, 1), weight=units.weight.repeat(times) / times
    )


def is_linear(
    rule: LossDerivatives, continued: StateReturns, generator: np.random.Generator
) -> bool:
    """Return whether the gradient is linear in the values, by trying some.

    Its expectation then is its value at their expectation. Whitened advantages are not linear.
    """
    config = rule.agent.config
    size = config.group_size
    rows = drawn_updates(rule.responses, _PROBES, size, 1, generator).rows
    one, other = (continued.drawn(rows.flatten(), 1, generator) for _ in range(2))
    middle = {name: (each + other[name]) / 2 for name, each in one.items()}
    at_one, at_other, at_middle = (
        dataclasses.replace(rule, values=lambda _, given=given: given).of(rows).to_dense()
        for given in (one, other, middle)
    )
    return torch.allclose((at_one + at_other) / 2, at_middle, rtol=1e-9, atol=1e-12)
