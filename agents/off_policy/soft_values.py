"""The formulas of learning soft values one decision at a time, as pure functions of tensors.

beta is the KL coefficient, pi_ref the reference. Rows are episodes, columns decisions, [B, D],
padded on the right; what is outside the mask never matters.
"""

from __future__ import annotations

import torch
from torch import Tensor

from agents.math.checks import check_row_values, check_shapes
from rlhf_env.checks import check_number


def soft_value(q: Tensor, ref_logprobs: Tensor, kl_coef: float | Tensor) -> Tensor:
    """Return V = beta log Σ_a pi_ref(a|s) exp(Q(s,a)/beta), [...]   (arXiv:1702.08892).

    Args:
        q: [..., V] the value of each token.
        ref_logprobs: [..., V] log pi_ref; −inf forbids a token.
        kl_coef: beta > 0; one number, or [...].
    """
    check_shapes("soft_value", q=q, ref_logprobs=ref_logprobs)
    beta = torch.as_tensor(kl_coef, dtype=q.dtype, device=q.device)
    return beta * (ref_logprobs + q / beta[..., None]).logsumexp(dim=-1)


def soft_q_target(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float) -> Tensor:
    """Return r_t + γ V(s_{t+1}) of each decision, [B, D]; 0 outside the mask.

    The last decision of an episode leads to its end, whose value is 0.

    Args:
        rewards: [B, D] what each decision is paid, without any KL.
        values: [B, D] the soft value of the state of each decision.
        mask: [B, D] bool, a prefix of each row.
        gamma: discount per decision.
    """
    check_shapes("soft_q_target", 2, rewards=rewards, values=values, mask=mask)
    kept = values.masked_fill(~mask, 0.0)
    following = torch.cat([kept[:, 1:], torch.zeros_like(kept[:, :1])], dim=1)
    return (rewards + gamma * following).masked_fill(~mask, 0.0)


def expectile_loss(errors: Tensor, expectile: float) -> Tensor:
    """Return |τ − 1(u < 0)| u² of each error u = Q − V   (arXiv:2110.06169, eq. 5).

    The V of least loss is the τ-expectile of Q: the mean at τ = 0.5, the largest as τ tends to 1.

    Args:
        errors: [...] what is to be predicted minus the prediction.
        expectile: τ in (0, 1).
    """
    check_number("expectile", expectile, minimum=0.0, maximum=1.0)
    weight = (expectile - (errors < 0).to(errors.dtype)).abs()
    return weight * errors.square()


def conservative_penalty(q: Tensor, soft_values: Tensor, kl_coef: float | Tensor) -> Tensor:
    """Return log Σ_a pi_ref(a|s) exp(Q(s,a)/beta) − Q(s,a_t)/beta of the tokens in the data.

    CQL(rho) with the reference as prior (arXiv:2006.04779, section 3.2). Up to log pi_ref(a_t|s) it
    is the cross-entropy of pi_ref exp((Q − V)/beta), the policy that the values give; ILQL's own
    has a uniform prior (arXiv:2206.11871).

    Args:
        q: [...] Q of the token that was chosen.
        soft_values: [...] `soft_value` of the same state.
        kl_coef: beta > 0; one number, or [...].
    """
    check_shapes("conservative_penalty", q=q, soft_values=soft_values)
    return (soft_values - q) / kl_coef


def suffix_residuals(
    values: Tensor,
    rewards: Tensor,
    log_ratio: Tensor,
    mask: Tensor,
    kl_coef: Tensor,
    gamma: float,
    *,
    holds_later: bool,
) -> Tensor:
    """Return V(s_t) − Σ_{i≥t} γ^{i−t} (r_i − beta log(pi/pi_ref)(a_i|s_i)), [B, D].

    It is 0 at (pi*, V*) on every suffix of every episode, whoever sampled it   (OREO,
    arXiv:2412.16145).

    Args:
        values: [B, D] V of the state of each decision.
        rewards: [B, D] what each decision is paid, without any KL.
        log_ratio: [B, D] log pi − log pi_ref of each decision.
        mask: [B, D] bool, a prefix of each row.
        kl_coef: [B] beta.
        gamma: discount per decision.
        holds_later: let no gradient through the log-ratios of decisions after t.
    """
    tensors = {"values": values, "rewards": rewards, "log_ratio": log_ratio, "mask": mask}
    check_shapes("suffix_residuals", 2, **tensors)
    check_row_values("suffix_residuals", len(mask), kl_coef=kl_coef)
    own = kl_coef[:, None] * log_ratio.masked_fill(~mask, 0.0)
    paid = rewards.masked_fill(~mask, 0.0) - own
    residuals, following = [], torch.zeros_like(paid[:, 0])
    for t in reversed(range(mask.shape[1])):
        later = following.detach() if holds_later else following
        following = paid[:, t] + gamma * later
        residuals.append(values[:, t] - following)
    return torch.stack(residuals[::-1], dim=1).masked_fill(~mask, 0.0)
