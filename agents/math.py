"""The formulas of policy-gradient learning, as pure functions of tensors.

Rows are episodes, columns are decisions (tokens, macro actions or whole responses): [B, D], padded
on the right. ``mask`` is True where a decision was taken; what stands elsewhere never matters.
Nothing here knows a model, a configuration or a file.
"""

from __future__ import annotations

import torch
from torch import Tensor


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Return the mean over the True positions, a scalar; 0 where there are none."""
    return values.masked_fill(~mask, 0.0).sum() / mask.sum().clamp(min=1)


def center(values: Tensor, mask: Tensor) -> Tensor:
    """Return the values minus their mean over the mask; 0 outside it."""
    return (values - masked_mean(values, mask)).masked_fill(~mask, 0.0)


def whiten(values: Tensor, mask: Tensor, *, shift_mean: bool = True) -> Tensor:
    """Return the values with mean 0 and standard deviation 1 over the mask; 0 outside it.

    The standard deviation is that of the population. Fewer than two values, or values that are
    equal up to rounding, give zeros.

    Args:
        values: [B, D].
        mask: [B, D] bool.
        shift_mean: False keeps the mean where it was, as for rewards, whose level tells how long
            an episode should be (arXiv:1909.08593).
    """
    mean = masked_mean(values, mask)
    centred = center(values, mask)
    variance = masked_mean(centred.square(), mask)
    varies = variance > 1e-12 * masked_mean(values.square(), mask)
    whitened = torch.where(varies, centred * variance.rsqrt(), 0.0)
    return whitened if shift_mean else (whitened + mean).masked_fill(~mask, 0.0)


def discount_weights(mask: Tensor, gamma: float) -> Tensor:
    """Return γ^t of the t-th decision, [B, D], 0 outside the mask."""
    powers = gamma ** torch.arange(mask.shape[1], dtype=torch.float64, device=mask.device)
    return torch.where(mask, powers.float(), 0.0)


def discounted_returns(rewards: Tensor, mask: Tensor, gamma: float) -> Tensor:
    """Sum what each decision is still going to be paid.

    G_t = r_t + γ G_{t+1}

    Args:
        rewards: [B, D] what each decision paid.
        mask: [B, D] bool.
        gamma: discount per decision.

    Returns:
        [B, D] returns; 0 outside the mask.
    """
    paid = rewards.masked_fill(~mask, 0.0)
    returns = torch.zeros_like(paid)
    following = torch.zeros_like(paid[:, 0])
    for t in reversed(range(paid.shape[1])):
        following = torch.where(mask[:, t], paid[:, t] + gamma * following, following)
        returns[:, t] = following
    return returns.masked_fill(~mask, 0.0)


def gae(
    rewards: Tensor,
    values: Tensor,
    mask: Tensor,
    bootstrap: Tensor,
    gamma: float,
    gae_lambda: float,
) -> Tensor:
    """Estimate advantages by exponentially weighted temporal differences.

    δ_t = r_t + γ V(s_{t+1}) − V(s_t),   A_t = δ_t + γ λ A_{t+1}   (arXiv:1506.02438)

    Args:
        rewards: [B, D] what each decision paid.
        values: [B, D] V of the state in which each decision was taken.
        mask: [B, D] bool, a prefix of each row.
        bootstrap: [B] V of the state after the last decision: 0 where the episode terminated,
            the critic's value where it was truncated.
        gamma: discount per decision.
        gae_lambda: 1 gives returns minus values, 0 one-step temporal differences.

    Returns:
        [B, D] advantages; 0 outside the mask.
    """
    rewards, values = rewards.masked_fill(~mask, 0.0), values.masked_fill(~mask, 0.0)
    advantages = torch.zeros_like(rewards)
    next_value, following = bootstrap, torch.zeros_like(bootstrap)
    for t in reversed(range(rewards.shape[1])):
        delta = rewards[:, t] + gamma * next_value - values[:, t]
        following = torch.where(mask[:, t], delta + gamma * gae_lambda * following, following)
        next_value = torch.where(mask[:, t], values[:, t], next_value)
        advantages[:, t] = following
    return advantages.masked_fill(~mask, 0.0)


def group_relative(returns: Tensor, group: Tensor, epsilon: float = 1e-4) -> Tensor:
    """Centre each return on its group's mean and divide by the group's standard deviation.

    A_i = (R_i − mean) / (std + ε), with the sample standard deviation   (arXiv:2402.03300)

    Args:
        returns: [B] return of each episode.
        group: [B] rows with the same number share a prompt draw.
        epsilon: keeps groups of nearly equal returns finite.

    Returns:
        [B] advantages; they sum to zero within every group.

    Raises:
        ValueError: if a group holds a single episode.
    """
    return group_centered(returns, group) / group_deviation(returns, group, epsilon)


def group_deviation(returns: Tensor, group: Tensor, epsilon: float = 1e-4) -> Tensor:
    """Return the sample standard deviation of each episode's group plus ε, [B].

    Raises:
        ValueError: if a group holds a single episode.
    """
    centred, counts, members = _group_centred(returns, group)
    squares = torch.zeros_like(counts).index_add_(0, members, centred.square())
    return (squares / (counts - 1)).sqrt()[members] + epsilon


def group_centered(returns: Tensor, group: Tensor) -> Tensor:
    """Centre each return on its group's mean: `group_relative` without the division.

    A_i = R_i − mean   (Dr. GRPO, arXiv:2503.20783)
    """
    return _group_centred(returns, group)[0]


def leave_one_out(returns: Tensor, group: Tensor) -> Tensor:
    """Subtract from each return the mean of the others of its group.

    A_i = R_i − mean{R_j : j ≠ i} = k/(k − 1) (R_i − mean)   (RLOO, arXiv:2402.14740)
    """
    centred, counts, members = _group_centred(returns, group)
    return centred * (counts / (counts - 1))[members]


def _group_centred(returns: Tensor, group: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return R_i − mean [B], the groups' sizes [K], and each row's group in 0..K-1 [B]."""
    _, members, sizes = group.unique(return_inverse=True, return_counts=True)
    if (sizes < 2).any():
        raise ValueError(
            "every group must hold at least 2 episodes, got one of 1; raise group_size"
        )
    # In double precision, so that equal returns of any size are centred to exactly zero.
    exact, totals = returns.double(), torch.zeros_like(sizes, dtype=torch.float64)
    means = totals.index_add_(0, members, exact) / sizes
    return (exact - means[members]).to(returns.dtype), sizes.to(returns.dtype), members


def clipped_surrogate(
    log_ratio: Tensor, advantages: Tensor, clip_low: float, clip_high: float
) -> Tensor:
    """Return PPO's pessimistic loss of each decision.

    −min(ρ A, clip(ρ, 1 − ε_low, 1 + ε_high) A),  ρ = π/π_old   (arXiv:1707.06347)

    Args:
        log_ratio: log ρ; more than ±20 is cut before exp, so that loss and gradient stay finite.
        advantages: of the same shape.
        clip_low: ε below 1.
        clip_high: ε above 1.
    """
    ratio = log_ratio.clamp(-20.0, 20.0).exp()
    clipped = ratio.clamp(1.0 - clip_low, 1.0 + clip_high)
    return -torch.minimum(ratio * advantages, clipped * advantages)


def is_clipped(log_ratio: Tensor, advantages: Tensor, clip_low: float, clip_high: float) -> Tensor:
    """Return bool, True where `clipped_surrogate` has no gradient."""
    above = (log_ratio.exp() > 1.0 + clip_high) & (advantages > 0)
    below = (log_ratio.exp() < 1.0 - clip_low) & (advantages < 0)
    return above | below


def squared_value_loss(values: Tensor, returns: Tensor) -> Tensor:
    """Return ½ (V − G)² of each decision."""
    return 0.5 * (values - returns).square()


def clipped_value_loss(
    values: Tensor, old_values: Tensor, returns: Tensor, clip_range: float
) -> Tensor:
    """Return the larger of the squared errors of V and of V kept near its old value.

    ½ max((V − G)², (clip(V, V_old ± ε) − G)²)
    """
    near = old_values + (values - old_values).clamp(-clip_range, clip_range)
    return torch.maximum(squared_value_loss(values, returns), squared_value_loss(near, returns))


def explained_variance(values: Tensor, returns: Tensor, mask: Tensor) -> float:
    """Return 1 − Var(G − V) / Var(G) over the mask; 0 where the returns do not vary."""
    variance = masked_mean(center(returns, mask).square(), mask)
    residual = masked_mean(center(returns - values, mask).square(), mask)
    return float(1 - residual / variance) if variance > 1e-12 else 0.0


def adaptive_kl_coef(
    kl_coef: float, observed: float, target: float, episodes: int, horizon: int
) -> float:
    """Return the next KL coefficient of a proportional controller.

    β ← β (1 + clip(KL / target − 1, ±0.2) · episodes / horizon)   (arXiv:1909.08593)

    Args:
        kl_coef: β now.
        observed: the measured KL, in the unit of ``target`` (nats per sequence or per token).
        target: the wanted KL, > 0.
        episodes: seen since the last call.
        horizon: episodes over which a full error changes β by 20 %.

    Raises:
        ValueError: if the observed KL is not a number, or the target is not positive.
    """
    if not target > 0:
        raise ValueError(f"target KL must be greater than 0, got {target}")
    if observed != observed:
        raise ValueError("observed KL must be a number, got nan; the coefficient is unchanged")
    error = min(max(observed / target - 1.0, -0.2), 0.2)
    return kl_coef * (1.0 + error * episodes / horizon)
