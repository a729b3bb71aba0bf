"""Means, centering and whitening over a mask."""

from __future__ import annotations

import torch
from torch import Tensor

from agents.math.checks import check_shapes


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Return Σ x / n over the n True positions, a scalar or [R] of R runs; 0 where n = 0."""
    check_shapes("masked_mean", values=values, mask=mask)
    return _total(values.masked_fill(~mask, 0.0)) / _total(mask).clamp(min=1)


def spread(values: Tensor, mask: Tensor) -> Tensor:
    """Return a number, or one for each of R runs, in a shape that broadcasts against the mask's."""
    return values if mask.dim() <= 2 else values[..., None, None]


def center(values: Tensor, mask: Tensor) -> Tensor:
    """Return x − mean(x) over the mask; 0 outside it."""
    check_shapes("center", values=values, mask=mask)
    return (values - spread(masked_mean(values, mask), mask)).masked_fill(~mask, 0.0)


def whiten(values: Tensor, mask: Tensor) -> Tensor:
    """Return (x − mean) / std over the mask; 0 outside it   (arXiv:2005.12729, normalization).

    The standard deviation is that of the population. Fewer than two values, or values that are
    equal up to rounding, give zeros.
    """
    check_shapes("whiten", values=values, mask=mask)
    centered = center(values, mask)
    variance = masked_mean(centered.square(), mask)
    varies = variance > 1e-12 * masked_mean(values.square(), mask)
    return torch.where(spread(varies, mask), centered * spread(variance.rsqrt(), mask), 0.0)


def scale_to_unit_variance(values: Tensor, mask: Tensor) -> Tensor:
    """Return (x − mean) / std + mean over the mask; 0 outside it.

    For rewards, whose mean affects how long episodes should be and is therefore kept
    (arXiv:1909.08593).
    """
    whitened = whiten(values, mask)
    return (whitened + spread(masked_mean(values, mask), mask)).masked_fill(~mask, 0.0)


def explained_variance(values: Tensor, returns: Tensor, mask: Tensor) -> Tensor:
    """Return 1 − Var(G − V) / Var(G) over the mask, a scalar; 0 where the returns do not vary.

    1 for perfect predictions, 0 for a constant, negative for worse than a constant.
    """
    check_shapes("explained_variance", values=values, returns=returns, mask=mask)
    variance = masked_mean(center(returns, mask).square(), mask)
    residual = masked_mean(center(returns - values, mask).square(), mask)
    return torch.where(variance > 1e-12, 1 - residual / variance, 0.0)


def _total(values: Tensor) -> Tensor:
    """Return the sum of all, or [R] of those of each run."""
    return values.sum() if values.dim() <= 2 else values.flatten(-2).sum(dim=-1)
