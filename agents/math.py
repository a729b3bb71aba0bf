"""The formulas of policy-gradient learning, as pure functions of tensors.

Rows are episodes, columns are decisions (tokens, macro actions or whole responses): [B, D], padded
on the right. ``mask`` is True where a decision was taken; values elsewhere never matter, not even
NaN. With a first axis more, [R, B, D], they are of R runs, and statistics are those of each run.
Nothing here depends on a model, a configuration or a file. Every function raises a ValueError that
names the shapes if they do not match.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from agents.math_checks import check_row_values, check_shapes


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Return Σ x / n over the n True positions, a scalar or [R] of R runs; 0 where n = 0."""
    check_shapes("masked_mean", values=values, mask=mask)
    return _total(values.masked_fill(~mask, 0.0)) / _total(mask).clamp(min=1)


def _total(values: Tensor) -> Tensor:
    """Return the sum of all, or [R] of those of each run."""
    return values.sum() if values.dim() <= 2 else values.flatten(-2).sum(dim=-1)


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


def _columns(function: str, gamma: float | Tensor, rewards: Tensor) -> Sequence[float | Tensor]:
    """Return the discount of each column of [B, D]: one number, or [B]."""
    if not isinstance(gamma, Tensor):
        return [gamma] * rewards.shape[-1]
    check_shapes(function, 2, rewards=rewards, gamma=gamma)
    return gamma.to(rewards.dtype).unbind(dim=-1)


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


def explained_variance(values: Tensor, returns: Tensor, mask: Tensor) -> Tensor:
    """Return 1 − Var(G − V) / Var(G) over the mask, a scalar; 0 where the returns do not vary.

    1 for perfect predictions, 0 for a constant, negative for worse than a constant.
    """
    check_shapes("explained_variance", values=values, returns=returns, mask=mask)
    variance = masked_mean(center(returns, mask).square(), mask)
    residual = masked_mean(center(returns - values, mask).square(), mask)
    return torch.where(variance > 1e-12, 1 - residual / variance, 0.0)


def adaptive_kl_coef(
    kl_coef: float, observed: float, target: float, episodes: int, horizon: int
) -> float:
    """Return the next KL coefficient of a proportional controller.

    β ← β (1 + clip(KL / target − 1, ±0.2) · episodes / horizon)   (arXiv:1909.08593)

    Args:
        kl_coef: the current β.
        observed: the measured KL, in the unit of ``target`` (nats per sequence or per token).
        target: the target KL, > 0.
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
