"""Discounts: one for everything that is paid, or one for each reward term.

With a discount γ < 1 there are two policy gradients, and both are in use. Weighing the t-th
decision of an episode by γ^t gives the gradient of the discounted objective; leaving the weight
out, as nearly all implementations do, gives the gradient of no function (arXiv:1906.07073). Agents
name which they follow: `agents.settings.discount.GRADIENT_FORMS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from agents.math import discount_weights, discounted_returns
from agents.rollouts.decisions import sum_per_decision
from agents.settings.discount import RETURN, Discount
from rlhf_env.rollout import Rollout


@dataclass(frozen=True, kw_only=True)
class DiscountedTerm:
    """What decisions are paid under one discount."""

    name: str
    """Of the reward term, or "return" for all of them together."""
    gamma: float | Tensor
    """Discount per decision; or [B, D] that from each decision to the next."""
    rewards: Tensor
    """[B, D]."""


def discounted_terms(
    rollout: Rollout, gamma: Discount, unit: str = "decision"
) -> list[DiscountedTerm]:
    """Return what was paid, by discount.

    Args:
        rollout: B episodes.
        gamma: one discount, or one for each reward term.
        unit: what it is per, one of `agents.settings.discount.DISCOUNT_UNITS`.

    Raises:
        ValueError: if the terms that were paid are not those that ``gamma`` names, or the discount
            is per turn and there are none.
    """
    if not isinstance(gamma, Mapping):
        rewards = sum_per_decision(rollout.rewards, rollout)
        discount = _per_decision(rollout, gamma, unit)
        return [DiscountedTerm(name=RETURN, gamma=discount, rewards=rewards)]
    paid, named = set(rollout.reward_terms), set(gamma)
    if paid != named:
        raise ValueError(
            f"gamma must name each reward term that is paid, {sorted(paid)}, got {sorted(named)}; "
            "add or remove terms, or give one number for all"
        )
    return [
        DiscountedTerm(
            name=name,
            gamma=_per_decision(rollout, discount, unit),
            rewards=sum_per_decision(rollout.reward_terms[name], rollout),
        )
        for name, discount in gamma.items()
    ]


def _per_decision(rollout: Rollout, gamma: float, unit: str) -> float | Tensor:
    if unit == "decision":
        return gamma
    return gamma ** turns_ended(rollout)


def turns_ended(rollout: Rollout) -> Tensor:
    """Return how many turns each decision ends, [B, D].

    Raises:
        ValueError: if the task of the episodes has no turns.
    """
    if rollout.ends_turn is None:
        raise ValueError(
            'discount_unit="turn" needs episodes of a task with turns, got some without; give the '
            'Task end_of_turn_id or respond, or take discount_unit="decision"'
        )
    return sum_per_decision(rollout.ends_turn.to(rollout.rewards.dtype), rollout)


def returns_to_go(
    rollout: Rollout,
    mask: Tensor,
    gamma: Discount,
    form: str = "standard",
    unit: str = "decision",
) -> Tensor:
    """Return [B, D] the return from each decision on, 0 outside the mask.

    Args:
        rollout: B episodes.
        mask: [B, D] bool, where there is a decision.
        gamma: one discount, or one for each reward term.
        form: "standard", G_t; or "discounted", γ^t G_t.
        unit: what a discount is per.
    """
    total = torch.zeros(mask.shape, device=mask.device)
    for term in discounted_terms(rollout, gamma, unit):
        returns = discounted_returns(term.rewards, mask, term.gamma)
        total = total + apply_discount(returns, mask, term.gamma, form)
    return total


def apply_discount(values: Tensor, mask: Tensor, gamma: float | Tensor, form: str) -> Tensor:
    """Return values [B, D], times γ^t where the form of the gradient is "discounted"."""
    return values * discount_weights(mask, gamma) if form == "discounted" else values


def sum_of_terms(by_name: Mapping[str, Tensor]) -> Tensor:
    """Return the sum of the tensors under all names, all of one shape."""
    return torch.stack(list(by_name.values())).sum(dim=0)
