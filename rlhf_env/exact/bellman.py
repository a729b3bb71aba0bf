"""One step of the recursions over states: the KL-regularized optimum and the KL of each state.

Arrays hold one row per state and one column per token, in float64; this module knows no task.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rlhf_env.checks import check_number

Array = NDArray[np.float64]


def optimum(q: Array, ref_logprobs: Array, kl_coef: float) -> tuple[Array, Array]:
    """Return the values [S] and log-probabilities [S, V] of the best policy, given Q [S, V].

    V = beta log Σ_a pi_ref(a) exp(Q(a)/beta); with beta = 0 it is the largest Q of the tokens that
    the reference allows, and tokens that tie share by their reference probabilities.

    Args:
        q: [S, V] the Q value of each token.
        ref_logprobs: [S, V] log pi_ref.
        kl_coef: beta >= 0.
    """
    best = _softmax_optimum if kl_coef > 0 else _greedy_optimum
    return best(q, ref_logprobs, kl_coef)


def state_kl(logprobs: Array, ref_logprobs: Array) -> Array:
    """Return [S] KL(pi(.|s) || pi_ref(.|s)), inf where pi allows what the reference forbids."""
    allowed = ~np.isneginf(logprobs)
    difference = np.subtract(logprobs, ref_logprobs, out=np.zeros_like(logprobs), where=allowed)
    return np.einsum("sv,sv->s", np.exp(logprobs), difference)


def expected(probabilities: Array, q: Array) -> Array:
    """Return [S] the mean of Q [S, V]; a token of probability 0 may cost infinitely much."""
    return np.einsum("sv,sv->s", probabilities, np.where(probabilities > 0, q, 0.0))


def _softmax_optimum(q: Array, ref_logprobs: Array, kl_coef: float) -> tuple[Array, Array]:
    tilted = ref_logprobs + q / kl_coef
    log_total = np.logaddexp.reduce(tilted, axis=1)
    return kl_coef * log_total, tilted - log_total[:, None]


def _greedy_optimum(q: Array, ref_logprobs: Array, kl_coef: float) -> tuple[Array, Array]:
    allowed = np.where(np.isneginf(ref_logprobs), -np.inf, q)
    best = allowed.max(axis=1)
    shares = np.where(allowed == best[:, None], ref_logprobs, -np.inf)
    return best, shares - np.logaddexp.reduce(shares, axis=1, keepdims=True)


def check_coefficients(kl_coef: float, gamma: float) -> None:
    """Refuse a KL coefficient or a discount that is out of range.

    Raises:
        ValueError: naming it.
    """
    check_number("kl_coef", kl_coef, minimum=0.0)
    check_number("gamma", gamma, minimum=0.0, maximum=1.0)
