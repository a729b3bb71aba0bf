"""The clipped surrogate, and losses of values."""

from __future__ import annotations

import torch
from torch import Tensor

from agents.math.checks import check_shapes


def clipped_surrogate(
    log_ratio: Tensor,
    advantages: Tensor,
    clip_low: float,
    clip_high: float,
    dual_clip: float | None = None,
) -> Tensor:
    """Return PPO's pessimistic loss of each decision.

    −min(ρ A, clip(ρ, 1 − ε_low, 1 + ε_high) A),  ρ = π/π_old   (arXiv:1707.06347), and with a dual
    clip −max(min(...), c A) where A < 0   (arXiv:1912.09729, equation 5)

    Args:
        log_ratio: log ρ, clamped to ±20 before exp so that loss and gradient stay finite.
        advantages: of the same shape.
        clip_low: ε below 1.
        clip_high: ε above 1.
        dual_clip: c > 1; none when None.
    """
    check_shapes("clipped_surrogate", log_ratio=log_ratio, advantages=advantages)
    ratio = log_ratio.clamp(-20.0, 20.0).exp()
    clipped = ratio.clamp(1.0 - clip_low, 1.0 + clip_high)
    pessimistic = torch.minimum(ratio * advantages, clipped * advantages)
    if dual_clip is None:
        return -pessimistic
    bounded = torch.maximum(pessimistic, dual_clip * advantages)
    return -torch.where(advantages < 0, bounded, pessimistic)


def is_clipped(
    log_ratio: Tensor,
    advantages: Tensor,
    clip_low: float,
    clip_high: float,
    dual_clip: float | None = None,
) -> Tensor:
    """Return bool, True where `clipped_surrogate` has no gradient.

    ρ > 1 + ε_high and A > 0, or ρ < 1 − ε_low and A < 0   (arXiv:1707.06347), or ρ > c and A < 0
    """
    check_shapes("is_clipped", log_ratio=log_ratio, advantages=advantages)
    above = (log_ratio.exp() > 1.0 + clip_high) & (advantages > 0)
    below = (log_ratio.exp() < 1.0 - clip_low) & (advantages < 0)
    if dual_clip is None:
        return above | below
    return above | below | ((log_ratio.exp() > dual_clip) & (advantages < 0))


def squared_value_loss(values: Tensor, returns: Tensor) -> Tensor:
    """Return ½ (V − G)² of each decision   (arXiv:1602.01783, without the ½)."""
    check_shapes("squared_value_loss", values=values, returns=returns)
    return 0.5 * (values - returns).square()


def clipped_value_loss(
    values: Tensor, old_values: Tensor, returns: Tensor, clip_range: float
) -> Tensor:
    """Return the larger of the squared errors of V and of V kept near its old value.

    ½ max((V − G)², (clip(V, V_old ± ε) − G)²)   (arXiv:2005.12729, value function clipping)
    """
    check_shapes("clipped_value_loss", values=values, old_values=old_values, returns=returns)
    near = old_values + (values - old_values).clamp(-clip_range, clip_range)
    return torch.maximum(squared_value_loss(values, returns), squared_value_loss(near, returns))
