"""V*(x) of a prompt from responses of the reference, and how far off it is expected to be."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from rlhf_env.checks import check_count, check_positive

_MOST_SAMPLES = 1_000_000


def optimal_value(returns: Tensor, kl_coef: float | Tensor) -> Tensor:
    """Return beta log (Σ_i exp(R_i/beta) / n), [...]   (A*-PO, arXiv:2505.20686).

    Its limit in n is V*(x) = beta log E_ref exp(R/beta), the soft value of the prompt at γ = 1; for
    every n it is expected to be lower, see `optimal_value_bias`.

    Args:
        returns: [..., n] what n responses of the reference were paid, without any KL.
        kl_coef: beta > 0; one number, or [...].
    """
    beta = torch.as_tensor(kl_coef, dtype=returns.dtype, device=returns.device)
    total = (returns / beta[..., None]).logsumexp(dim=-1)
    return beta * (total - math.log(returns.shape[-1]))


def optimal_value_bias(
    returns: ArrayLike, probabilities: ArrayLike, kl_coef: float, samples: int
) -> float:
    """Return E[`optimal_value` of n draws] − V*(x), at most 0 by Jensen's inequality.

    All ways in which n draws can fall on the K possible returns are enumerated, in float64.

    Args:
        returns: [K] what a response of the reference may be paid; equal ones are taken together.
        probabilities: [K] of each, which sum to 1.
        kl_coef: beta > 0.
        samples: n.

    Raises:
        ValueError: if there are more than a million such ways, or beta is not above 0.
    """
    check_positive("kl_coef", kl_coef)
    check_count("samples", samples)
    levels, place = np.unique(np.asarray(returns, dtype=np.float64), return_inverse=True)
    shares = np.bincount(place, weights=np.asarray(probabilities, dtype=np.float64))
    ways = math.comb(samples + len(levels) - 1, samples)
    if ways > _MOST_SAMPLES:
        raise ValueError(
            f"{samples} draws of {len(levels)} different returns can fall in {ways:,} ways, at "
            f"most {_MOST_SAMPLES:,} can be enumerated; take fewer draws"
        )
    drawn = np.array(list(itertools.combinations_with_replacement(range(len(levels)), samples)))
    orders = np.array([_orders(row) for row in drawn.tolist()], dtype=np.float64)
    weight = orders * shares[drawn].prod(axis=1)
    found = optimal_value(torch.from_numpy(levels[drawn]), kl_coef).numpy()
    with np.errstate(divide="ignore"):
        exact = kl_coef * np.logaddexp.reduce(np.log(shares) + levels / kl_coef)
    return float(weight @ found - exact)


def _orders(row: list[int]) -> int:
    """Return in how many orders the same draws can come."""
    repeats = math.prod(math.factorial(count) for count in Counter(row).values())
    return math.factorial(len(row)) // repeats
