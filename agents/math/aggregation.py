"""How long and short episodes weigh in a loss."""

from __future__ import annotations

import torch
from torch import Tensor


def mean_over_decisions(mask: Tensor) -> Tensor:
    """Return the [B] weights under which the mean over episodes is the mean over decisions.

    Args:
        mask: [B, D] bool, where there is a decision; [R, B, D] gives the weights of each run.
    """
    count = mask.flatten(-2).sum(dim=-1, keepdim=True).clamp(min=1)
    return (mask.shape[-2] / count).expand(mask.shape[:-1])


def aggregation_weights(
    aggregation: str, mask: Tensor, is_used: Tensor | None = None, horizon: int | None = None
) -> Tensor:
    """Return the [B] factors of each episode's sum over decisions in the mean over episodes.

    GRPO (arXiv:2402.03300) takes "episode_mean", DAPO (arXiv:2503.14476) "decision_mean", and
    Dr. GRPO (arXiv:2503.20783) "constant".

    Args:
        aggregation: "decision_mean", Σ over decisions / number of decisions; "episode_mean", mean
            over episodes of their own means; "sum", mean over episodes of their sums; "constant",
            the same / T.
        mask: [B, D] bool, where there is a decision.
        is_used: [B] bool, the episodes that count; 0 for the others. All when None.
        horizon: T, for "constant".
    """
    used = torch.ones_like(mask[..., 0]) if is_used is None else is_used
    if aggregation == "decision_mean":
        return used * mean_over_decisions(mask & used[..., None])
    share = used * (mask.shape[-2] / used.sum(dim=-1, keepdim=True).clamp(min=1))
    if aggregation == "sum":
        return share
    if aggregation == "episode_mean":
        return share / mask.sum(dim=-1)
    assert horizon is not None
    return share / horizon
