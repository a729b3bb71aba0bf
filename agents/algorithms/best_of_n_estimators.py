"""The gain of choosing the best of n, estimated from a pool of scored responses, and its KL.

Pure functions, like those of `agents.math`; the exact answers of small tasks are in
`rlhf_env.exact.best_of_n`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from rlhf_env.checks import check_count


def best_of_n_kl_bound(n: int) -> float:
    """Return log n − (n − 1)/n, the most that choosing the best of n moves a policy, in nats.

    It is the KL between the chosen response and one drawn at random if no two responses ever have
    the same score, and more than that KL otherwise (arXiv:2009.01325, appendix G.3;
    arXiv:2401.01879).

    Raises:
        ValueError: if n is not positive.
    """
    check_count("n", n)
    return math.log(n) - (n - 1) / n


def best_of_n_mean(scores: Tensor, values: Tensor, n: int) -> Tensor:
    """Estimate the mean value of the best of n by score, without bias, from one pool.

    Σ_i C(i−1, n−1) / C(N, n) · value of rank i, i = 1 the lowest score: the mean over all subsets
    of n (arXiv:2112.09332, appendix I). Responses with one score share their ranks.

    Args:
        scores: [N] what the choice goes by.
        values: [N] of the same responses, such as their gold scores.
        n: at most N.

    Returns:
        A scalar, float64.

    Raises:
        ValueError: if n is not in 1 … N, or the shapes differ.
    """
    pool = len(scores)
    check_count("n", n)
    if scores.shape != values.shape or scores.dim() != 1:
        raise ValueError(
            "scores and values must both be [N], got "
            f"{list(scores.shape)} and {list(values.shape)}; call it once per prompt"
        )
    if n > pool:
        raise ValueError(f"n must be at most the pool's size {pool}, got {n}; draw a larger pool")
    _, level, sizes = scores.unique(return_inverse=True, return_counts=True)
    totals = torch.zeros(len(sizes), dtype=torch.float64, device=values.device)
    shared = (totals.index_add_(0, level, values.double()) / sizes)[level]
    return _rank_weights(pool, n).to(values.device) @ shared[scores.argsort()]


def _rank_weights(pool: int, n: int) -> Tensor:
    """Return [N] the probability that each rank is the best of n drawn without replacement."""
    ranks = torch.arange(n, pool + 1, dtype=torch.float64)
    log_weights = _log_binomial(ranks - 1, n - 1) - _log_binomial(torch.tensor(float(pool)), n)
    return torch.cat([torch.zeros(n - 1, dtype=torch.float64), log_weights.exp()])


def _log_binomial(total: Tensor, chosen: int) -> Tensor:
    """Return log C(total, chosen) by the logarithm of the gamma function, in float64."""
    total = total.double()
    fixed = math.lgamma(chosen + 1)
    return torch.lgamma(total + 1) - torch.lgamma(total - chosen + 1) - fixed
