"""Weights of episodes that another policy sampled than the one that learns from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from agents.math.checks import check_shapes

# exp of it is finite in float32, and far outside any band.
_LARGEST_LOG = 20.0


class ImportanceSettings(Protocol):
    """What the weights depend on; see `agents.settings.policy_gradient`."""

    @property
    def importance(self) -> str:
        """One of `agents.settings.policy_gradient.IMPORTANCE`."""
        ...

    @property
    def importance_cap(self) -> float | None:
        """Upper bound of the ratios."""
        ...

    @property
    def importance_band(self) -> tuple[float, float] | None:
        """Ratios outside of it count as 0."""
        ...


@dataclass(frozen=True, kw_only=True)
class ImportanceWeights:
    """Ratios of the learner's to the sampler's probabilities, limited."""

    weights: Tensor
    """[B, D]; 0 where there is no decision."""
    is_limited: Tensor
    """[B, D] bool, where the cap or the band changed a ratio."""


def importance_weights(
    logprobs: Tensor, sampler_logprobs: Tensor, mask: Tensor, settings: ImportanceSettings
) -> ImportanceWeights:
    """Return the weight of each decision.

    w_t = pi(a_t|s_t) / mu(a_t|s_t) for "token", Π_t w_t for "sequence" (all decisions of an episode
    alike), and its 1/length-th power for "geometric". A cap gives min(w, cap); a band, 0 outside.

    Args:
        logprobs: [B, D] of the policy at the beginning of the update.
        sampler_logprobs: [B, D] of the policy that sampled.
        mask: [B, D] bool, where there is a decision.
        settings: which of them.
    """
    check_shapes("importance_weights", 2, logprobs=logprobs, sampler=sampler_logprobs, mask=mask)
    log_ratio = (logprobs - sampler_logprobs).masked_fill(~mask, 0.0)
    if settings.importance != "token":
        log_ratio = log_ratio.sum(dim=1, keepdim=True).expand(mask.shape)
    if settings.importance == "geometric":
        log_ratio = log_ratio / mask.sum(dim=1, keepdim=True).clamp(min=1)
    ratio = log_ratio.clamp(-_LARGEST_LOG, _LARGEST_LOG).exp()
    weights = ratio
    if settings.importance_cap is not None:
        weights = weights.clamp(max=settings.importance_cap)
    if settings.importance_band is not None:
        low, high = settings.importance_band
        weights = torch.where((ratio >= low) & (ratio <= high), weights, 0.0)
    return ImportanceWeights(
        weights=weights.masked_fill(~mask, 0.0), is_limited=(weights != ratio) & mask
    )
