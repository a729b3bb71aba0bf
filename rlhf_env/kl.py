"""KL estimators from sampled tokens, and divergences between whole next-token distributions.

In this module pi is the penalized distribution (the policy, first argument) and ref the one that it
is kept near (the reference, second argument), in nats. ``logits`` of pi and ref may be log
probabilities as well; −inf masks a token, and every row must hold one finite logit.

The estimators are for tokens drawn from pi. How a penalty enters the reward or the loss is not
decided here: as values k1 and k3 are unbiased, but their gradients are another matter.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

# exp(20) = 5e8: beyond it k3 continues linearly, so that its gradient can still be clipped.
_LARGEST_EXPONENT = 20.0
# Replaces log 0 where the limit is finite; exp() of it is 0, and no −inf − (−inf) arises.
_LOG_ZERO = -1e30


def k1(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """Return the estimator log pi − log ref; unbiased for KL(pi || ref), may be negative.

    Source: J. Schulman, "Approximating KL Divergence", 2020, as for `k2` and `k3`.

    Args:
        logprobs: [...] log pi(a|s) of tokens drawn from pi.
        ref_logprobs: [...] log ref(a|s) of the same tokens.

    Returns:
        [...] at least float32; 0 where both give the token probability 0.
    """
    pi, ref = _at_least_float32(logprobs), _at_least_float32(ref_logprobs)
    return torch.where(torch.isneginf(pi) & torch.isneginf(ref), 0.0, pi - ref)


def k2(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """Return the estimator (log pi − log ref)² / 2; never negative, biased, little noise.

    Its gradient has the expectation of the gradient of KL(pi || ref).

    Args:
        logprobs: [...] log pi(a|s) of tokens drawn from pi.
        ref_logprobs: [...] log ref(a|s) of the same tokens.
    """
    return 0.5 * k1(logprobs, ref_logprobs).square()


def k3(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """Return the estimator ref/pi − 1 − log(ref/pi); unbiased for KL(pi || ref), never negative.

    Its gradient has the expectation of the gradient of the forward KL(ref || pi). Where
    log(ref/pi) exceeds 20 (no token drawn from pi gets there) it continues along its tangent, so
    that value and gradient stay finite.

    Args:
        logprobs: [...] log pi(a|s) of tokens drawn from pi.
        ref_logprobs: [...] log ref(a|s) of the same tokens.
    """
    log_ratio = -k1(logprobs, ref_logprobs)
    bounded = log_ratio.clamp(max=_LARGEST_EXPONENT)
    slope = math.expm1(_LARGEST_EXPONENT)
    return torch.expm1(bounded) - bounded + slope * (log_ratio - _LARGEST_EXPONENT).relu()


def exact_kl(logits: Tensor, ref_logits: Tensor) -> Tensor:
    """Return KL(pi || ref) = Σ_a pi(a) (log pi(a) − log ref(a)) over the vocabulary.

    Args:
        logits: [..., V] of pi.
        ref_logits: [..., V] of ref.

    Returns:
        [...] at least float32; inf where pi allows a token that ref forbids.
    """
    logprobs, ref_logprobs = _log_softmax(logits), _log_softmax(ref_logits)
    allowed = ~torch.isneginf(logprobs)
    # Both sides of a where are differentiated, so the difference must be finite where it is unused.
    difference = torch.where(allowed, logprobs, 0.0) - torch.where(allowed, ref_logprobs, 0.0)
    probabilities = logprobs.exp()
    return torch.where(probabilities > 0, probabilities * difference, 0.0).sum(dim=-1)


def reverse_kl(logits: Tensor, ref_logits: Tensor) -> Tensor:
    """Return KL(pi || ref), mode seeking: the KL of RLHF, the same as `exact_kl`.

    Args:
        logits: [..., V] of pi.
        ref_logits: [..., V] of ref.
    """
    return exact_kl(logits, ref_logits)


def forward_kl(logits: Tensor, ref_logits: Tensor) -> Tensor:
    """Return KL(ref || pi), mass covering: the KL of supervised learning.

    Args:
        logits: [..., V] of pi.
        ref_logits: [..., V] of ref.
    """
    return exact_kl(ref_logits, logits)


def js_divergence(logits: Tensor, ref_logits: Tensor) -> Tensor:
    """Return the Jensen-Shannon divergence ½ KL(pi || m) + ½ KL(ref || m) with m = (pi + ref)/2.

    Symmetric, and at most log 2. Source: Lin, "Divergence measures based on the Shannon entropy",
    1991; as a penalty of preference learning in f-DPO, arXiv:2309.16240.

    Args:
        logits: [..., V] of pi.
        ref_logits: [..., V] of ref.
    """
    logprobs = _log_softmax(logits).clamp(min=_LOG_ZERO)
    ref_logprobs = _log_softmax(ref_logits).clamp(min=_LOG_ZERO)
    mixture = torch.logaddexp(logprobs, ref_logprobs) - math.log(2.0)
    to_pi = logprobs.exp() * (logprobs - mixture)
    to_ref = ref_logprobs.exp() * (ref_logprobs - mixture)
    return 0.5 * (to_pi + to_ref).sum(dim=-1)


def alpha_divergence(logits: Tensor, ref_logits: Tensor, alpha: float) -> Tensor:
    """Return the alpha divergence (1 − Σ_a pi(a)^alpha ref(a)^(1−alpha)) / (alpha (1 − alpha)).

    alpha = 1 is KL(pi || ref), alpha = 0 is KL(ref || pi), alpha = ½ is four times the squared
    Hellinger distance 1 − Σ √(pi ref). Source: Amari, "Differential-Geometrical Methods in
    Statistics", 1985; as a penalty of preference learning in f-DPO, arXiv:2309.16240.

    Args:
        logits: [..., V] of pi.
        ref_logits: [..., V] of ref.
        alpha: in [0, 1].

    Raises:
        ValueError: if alpha is outside [0, 1].
    """
    if not 0.0 <= alpha <= 1.0:
        raise ValueError(f"alpha must be in [0, 1], got {alpha}")
    if alpha == 1.0:
        return reverse_kl(logits, ref_logits)
    if alpha == 0.0:
        return forward_kl(logits, ref_logits)
    logprobs = _log_softmax(logits).clamp(min=_LOG_ZERO)
    ref_logprobs = _log_softmax(ref_logits).clamp(min=_LOG_ZERO)
    log_overlap = torch.logsumexp(alpha * logprobs + (1.0 - alpha) * ref_logprobs, dim=-1)
    return -torch.expm1(log_overlap) / (alpha * (1.0 - alpha))


def _at_least_float32(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _log_softmax(logits: Tensor) -> Tensor:
    return _at_least_float32(logits).log_softmax(dim=-1)
