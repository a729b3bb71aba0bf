"""Discounted returns and generalized advantage estimation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from agents.math.checks import check_row_values, check_shapes


def discount_weights(mask: Tensor, gamma: float | Tensor) -> Tensor:
    """Return γ^t of the t-th decision, [B, D], 0 outside the mask   (arXiv:1906.07073).

    Args:
        mask: [B, D] bool.
        gamma: discount per decision; or [B, D] that from each decision to the next, whose products
            take the place of the powers.
    """
    check_shapes("discount_weights", 2, mask=mask)
    if isinstance(gamma, Tensor):
        check_shapes("discount_weights", 2, mask=mask, gamma=gamma)
        before = torch.cat([torch.ones_like(gamma[..., :1]), gamma[..., :-1]], dim=-1)
        return torch.where(mask, before.cumprod(dim=-1).float(), 0.0)
    powers = gamma ** torch.arange(mask.shape[-1], dtype=torch.float64, device=mask.device)
    return torch.where(mask, powers.float(), 0.0)


def discounted_returns(rewards: Tensor, mask: Tensor, gamma: float | Tensor) -> Tensor:
    """Return the sum of discounted rewards from each decision on, [B, D]; 0 outside the mask.

    G_t = r_t + γ G_{t+1}   (Sutton and Barto, Reinforcement Learning, eq. 3.9)

    Args:
        rewards: [B, D] of each decision.
        mask: [B, D] bool.
        gamma: discount per decision; or [B, D] that from each decision to the next.
    """
    check_shapes("discounted_returns", 2, rewards=rewards, mask=mask)
    discounts = _columns("discounted_returns", gamma, rewards)
    paid = rewards.masked_fill(~mask, 0.0)
    returns = torch.zeros_like(paid)
    following = torch.zeros_like(paid[..., 0])
    for t in reversed(range(paid.shape[-1])):
        following = torch.where(mask[..., t], paid[..., t] + discounts[t] * following, following)
        returns[..., t] = following
    return returns.masked_fill(~mask, 0.0)


def gae(
    rewards: Tensor,
    values: Tensor,
    mask: Tensor,
    bootstrap: Tensor,
    gamma: float | Tensor,
    gae_lambda: float | Tensor,
) -> Tensor:
    """Return advantages by exponentially weighted TD errors, [B, D]; 0 outside the mask.

    δ_t = r_t + γ V(s_{t+1}) − V(s_t),   A_t = δ_t + γ λ A_{t+1}   (arXiv:1506.02438)

    Args:
        rewards: [B, D] of each decision.
        values: [B, D] V of the state in which each decision was taken.
        mask: [B, D] bool, a prefix of each row.
        bootstrap: [B] V of the state after the last decision: 0 where the episode terminated,
            the critic's value where it was truncated.
        gamma: discount per decision; or [B, D] that from each decision to the next state.
        gae_lambda: 1 gives returns minus values, 0 one-step temporal differences; one number, or
            [B] one for each episode.
    """
    check_shapes("gae", 2, rewards=rewards, values=values, mask=mask)
    check_row_values("gae", *mask.shape[:-1], bootstrap=bootstrap)
    if isinstance(gae_lambda, Tensor):
        check_row_values("gae", *mask.shape[:-1], gae_lambda=gae_lambda)
        gae_lambda = gae_lambda.double()[..., None].expand(mask.shape)
    discounts = _columns("gae", gamma, rewards)
    decays = _columns("gae", gamma * gae_lambda, rewards)
    rewards, values = rewards.masked_fill(~mask, 0.0), values.masked_fill(~mask, 0.0)
    advantages = torch.zeros_like(rewards)
    next_value, following = bootstrap, torch.zeros_like(bootstrap)
    for t in reversed(range(rewards.shape[-1])):
        delta = rewards[..., t] + discounts[t] * next_value - values[..., t]
        following = torch.where(mask[..., t], delta + decays[t] * following, following)
        next_value = torch.where(mask[..., t], values[..., t], next_value)
        advantages[..., t] = following
    return advantages.masked_fill(~mask, 0.0)


def length_adaptive_lambda(mask: Tensor, alpha: float) -> Tensor:
    """Return the lambda of each episode by its number of decisions l, [B], at least 0.

    λ = 1 − 1/(α l), so that the weights of the temporal differences add up to α l wherever that is
    at least 1   (VAPO, arXiv:2504.05118, eq. 5)

    Args:
        mask: [B, D] bool.
        alpha: > 0.
    """
    check_shapes("length_adaptive_lambda", 2, mask=mask)
    lengths = mask.sum(dim=-1).clamp(min=1).double()
    return (1.0 - 1.0 / (alpha * lengths)).clamp(min=0.0)


def _columns(function: str, gamma: float | Tensor, rewards: Tensor) -> Sequence[float | Tensor]:
    """Return the discount of each column of [B, D]: one number, or [B]."""
    if not isinstance(gamma, Tensor):
        return [gamma] * rewards.shape[-1]
    check_shapes(function, 2, rewards=rewards, gamma=gamma)
    return gamma.to(rewards.dtype).unbind(dim=-1)
