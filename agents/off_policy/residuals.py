"""Residuals of paths through episodes: 0 on all of them at (pi*, V*), whoever sampled them.

beta is the KL coefficient, pi_ref the reference, D decisions are the columns of [B, D], padded on
the right; what is outside the mask never matters. The soft Bellman equation of one decision,
V(s) = r + γ V(s') − beta log(pi/pi_ref)(a|s), adds up along a path.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from agents.math.checks import check_row_values, check_shapes


def trajectory_residuals(
    rewards: Tensor, log_ratio: Tensor, mask: Tensor, kl_coef: Tensor, gamma: float
) -> Tensor:
    """Return Σ_t γ^t (log(pi/pi_ref)(a_t|s_t) − r_t/beta) of whole episodes, [B], in nats.

    It is −V*(s_1)/beta = −log Z for every response to a prompt at pi*, and what trajectory balance,
    TBRM and ReVal add their value of the prompt to.

    Args:
        rewards: [B, D] what each decision is paid, without any KL.
        log_ratio: [B, D] log pi − log pi_ref of each decision.
        mask: [B, D] bool, a prefix of each row.
        kl_coef: [B] beta.
        gamma: discount per decision.
    """
    gains = soft_gains(rewards, log_ratio, mask, kl_coef)
    steps = torch.arange(mask.shape[1], device=mask.device)
    return -(gains @ _power(gamma, steps, gains)) / kl_coef


def group_log_z(residuals: Tensor, group: Tensor) -> Tensor:
    """Return the log Z of each row's prompt that its group's residuals have mean 0 with, [B].

    The estimate of VarGrad, log Z = mean(r/beta − log(pi/pi_ref))   (TBA, arXiv:2503.18929)

    Args:
        residuals: [B] of `trajectory_residuals`.
        group: [B] rows with the same number are responses to one prompt.

    Raises:
        ValueError: if a group holds a single episode, whose residual would always be 0.
    """
    check_shapes("group_log_z", 1, residuals=residuals, group=group)
    _, members, sizes = group.unique(return_inverse=True, return_counts=True)
    if (sizes < 2).any():
        raise ValueError(
            "log Z is the mean of a group of at least 2 responses to a prompt, got one of 1; raise "
            'group_size, or set log_z="learned"'
        )
    totals = residuals.new_zeros(len(sizes)).index_add_(0, members, residuals)
    return -(totals / sizes)[members]


def soft_gains(rewards: Tensor, log_ratio: Tensor, mask: Tensor, kl_coef: Tensor) -> Tensor:
    """Return r − beta log(pi/pi_ref) of each decision, [B, D]; 0 outside the mask.

    Args:
        rewards: [B, D] what each decision is paid, without any KL.
        log_ratio: [B, D] log pi − log pi_ref of each decision.
        mask: [B, D] bool, a prefix of each row.
        kl_coef: [B] beta.
    """
    check_shapes("soft_gains", 2, rewards=rewards, log_ratio=log_ratio, mask=mask)
    check_row_values("soft_gains", len(mask), kl_coef=kl_coef)
    return (rewards - kl_coef[:, None] * log_ratio).masked_fill(~mask, 0.0)


def sub_path_residuals(
    values: Tensor, last_values: Tensor, gains: Tensor, mask: Tensor, gamma: float
) -> tuple[Tensor, Tensor]:
    """Return V(s_i) − Σ_{i≤t≤j} γ^{t−i} g_t − γ^{j+1−i} V(s_{j+1}) of every sub-path, [B, D, D].

    Entry (i, j) is of the path from the i-th decision to behind the j-th   (PCL,
    arXiv:1702.08892).

    Args:
        values: [B, D] V of the state of each decision.
        last_values: [B] V of the state after the last; 0 where the episode ended.
        gains: [B, D] g of `soft_gains`.
        mask: [B, D] bool, a prefix of each row.
        gamma: discount per decision.

    Returns:
        The residuals, 0 where there is no such path; and [B, D, D] bool, where there is one.
    """
    check_shapes("sub_path_residuals", 2, values=values, gains=gains, mask=mask)
    check_row_values("sub_path_residuals", len(mask), last_values=last_values)
    steps = torch.arange(mask.shape[1], device=mask.device)
    distance = steps - steps[:, None]
    is_path = (distance >= 0) & mask[:, None, :]
    powers = torch.where(distance >= 0, _power(gamma, distance, gains), 0.0)
    paid = (powers * gains[:, None, :]).cumsum(dim=2)
    following = _with_last(values, last_values, mask)[:, 1:]
    ends = _power(gamma, distance + 1, gains) * following[:, None, :]
    residuals = values[:, :, None] - paid - ends
    return residuals.masked_fill(~is_path, 0.0), is_path


def path_residuals(
    values: Tensor, last_values: Tensor, gains: Tensor, mask: Tensor, gamma: float, length: int
) -> Tensor:
    """Return the residual of the path of some decisions from each on, [B, D]; 0 outside the mask.

    Those of `sub_path_residuals` with j = i + length − 1, or shorter where the episode ends before.

    Args:
        values: as there, and likewise up to ``gamma``.
        last_values: likewise.
        gains: likewise.
        mask: likewise.
        gamma: likewise.
        length: decisions of a path, at least 1.
    """
    check_shapes("path_residuals", 2, values=values, gains=gains, mask=mask)
    check_row_values("path_residuals", len(mask), last_values=last_values)
    count = mask.shape[1]
    steps = torch.arange(count, device=mask.device)
    length = min(length, count)
    windows = pad(gains, (0, length - 1)).unfold(1, length, 1)
    paid = windows @ _power(gamma, steps[:length], gains)
    ends = torch.minimum(steps + length, mask.sum(dim=1, keepdim=True))
    following = _with_last(values, last_values, mask).gather(1, ends)
    residuals = values - paid - _power(gamma, ends - steps, gains) * following
    return residuals.masked_fill(~mask, 0.0)


def _power(gamma: float, exponents: Tensor, like: Tensor) -> Tensor:
    """Return γ to the power of integers, 1 where they are negative, in another tensor's type."""
    return gamma ** exponents.clamp(min=0).to(like)


def _with_last(values: Tensor, last_values: Tensor, mask: Tensor) -> Tensor:
    """Return [B, D + 1] V of every state, that after the last decision too; 0 behind it."""
    known = pad(values.masked_fill(~mask, 0.0), (0, 1))
    return known.scatter(1, mask.sum(dim=1, keepdim=True), last_values[:, None])
