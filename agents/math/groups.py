"""Returns compared within a group of responses to one prompt."""

from __future__ import annotations

import torch
from torch import Tensor

from agents.math.checks import check_shapes


def group_relative(returns: Tensor, group: Tensor, epsilon: float = 1e-4) -> Tensor:
    """Center each return on its group's mean and divide by the group's standard deviation.

    A_i = (R_i − mean) / (std + ε), with the sample standard deviation   (arXiv:2402.03300);
    advantages sum to zero within every group.

    Args:
        returns: [B] return of each episode.
        group: [B] rows with the same number share a prompt draw.
        epsilon: keeps groups of nearly equal returns finite.

    Raises:
        ValueError: if a group holds a single episode.
    """
    return group_centered(returns, group) / group_deviation(returns, group, epsilon)


def group_deviation(returns: Tensor, group: Tensor, epsilon: float = 1e-4) -> Tensor:
    """Return √(Σ (R_j − mean)² / (k − 1)) + ε of each episode's group of k, [B].

    Raises:
        ValueError: if a group holds a single episode.
    """
    centered, counts, members = _group_centered("group_deviation", returns, group)
    squares = torch.zeros_like(counts).index_add_(0, members, centered.square())
    return (squares / (counts - 1)).sqrt()[members] + epsilon


def group_centered(returns: Tensor, group: Tensor) -> Tensor:
    """Center each return on its group's mean: `group_relative` without the division.

    A_i = R_i − mean   (Dr. GRPO, arXiv:2503.20783)
    """
    return _group_centered("group_centered", returns, group)[0]


def leave_one_out(returns: Tensor, group: Tensor) -> Tensor:
    """Subtract from each return the mean of the others of its group.

    A_i = R_i − mean{R_j : j ≠ i} = k/(k − 1) (R_i − mean)   (RLOO, arXiv:2402.14740)
    """
    centered, counts, members = _group_centered("leave_one_out", returns, group)
    return centered * (counts / (counts - 1))[members]


def _group_centered(function: str, returns: Tensor, group: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return R_i − mean [B], the groups' sizes [K], and each row's group in 0..K-1 [B]."""
    check_shapes(function, 1, returns=returns, group=group)
    _, members, sizes = group.unique(return_inverse=True, return_counts=True)
    if (sizes < 2).any():
        raise ValueError(
            "every group must hold at least 2 episodes, got one of 1; raise group_size"
        )
    # In double precision, so that equal returns of any size are centered to exactly zero.
    exact, totals = returns.double(), torch.zeros_like(sizes, dtype=torch.float64)
    means = totals.index_add_(0, members, exact) / sizes
    return (exact - means[members]).to(returns.dtype), sizes.to(returns.dtype), members
