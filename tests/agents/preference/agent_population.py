"""Agents on whole populations of "toy15": every response, or every pair, weighed exactly."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor

from rlhf_env.rollout import Rollout
from tests.agents.episodes import every_toy15_episode
from tests.agents.preference.toy15_population import FIRST, P_FIRST, REF, SECOND, WEIGHTS, WINS

# Of one response of a random pair of two different ones: how often, and how often it is better.
MASS = torch.zeros(15, dtype=torch.float64).index_add(0, FIRST, WEIGHTS)
GOOD = torch.zeros(15, dtype=torch.float64).index_add(0, FIRST, WEIGHTS * P_FIRST) / MASS
WIN_RATES = WINS @ REF


def table(agent: Any) -> torch.nn.Parameter:
    """The policy's logits, [3, 7]."""
    return next(iter(agent.policy.model.parameters()))


def set_table(agent: Any, logits: Tensor) -> None:
    with torch.no_grad():
        table(agent).copy_(logits)


def every_response(agent: Any, good: Tensor) -> Rollout:
    """The 15 responses, each a group of its own, with probabilities [15] of being good."""
    rollout = every_toy15_episode(agent)
    return rollout.replace(preference=good.float()[:, None], group=torch.arange(15))


def every_pair(agent: Any) -> Rollout:
    """The 210 ordered pairs of different responses, Bradley-Terry labels."""
    p = P_FIRST.float()
    half = torch.full_like(p, 0.5)
    rows = torch.stack([FIRST, SECOND], dim=1).flatten()
    matrix = torch.stack([half, p, 1 - p, half], dim=1).reshape(-1, 2)
    group = torch.arange(len(FIRST)).repeat_interleave(2)
    return every_toy15_episode(agent).take(rows).replace(preference=matrix, group=group)


def population_loss(agent: Any, rollout: Rollout, mass: Tensor, **changes: Tensor) -> Tensor:
    """The mean loss over rows of a mass, with gradient; some targets may be exchanged."""
    algorithm = agent.learner.algorithm
    known = agent._referred(rollout)
    old = agent.policy.sampler_only(known)
    targets = algorithm.targets(known, old, agent.base.mdp.reference)
    targets = dataclasses.replace(targets, **changes)
    new = agent.policy.evaluate_tokens(known.tokens, known.is_action)
    losses, _ = algorithm.loss(known, new, old, targets)
    return (losses * mass.float()).sum()


def value_and_slope(
    agent: Any, rollout: Rollout, mass: Tensor, **changes: Tensor
) -> tuple[float, Tensor]:
    """The loss of a population and its slope in the policy's table, [3, 7]."""
    agent.policy.zero_grad()
    loss = population_loss(agent, rollout, mass, **changes)
    loss.backward()
    slope = table(agent).grad
    assert slope is not None
    return loss.item(), slope.clone()
