"""How noisy gradients are, and whether they agree, from the inner products of K of them.

Everything is a function of which rollouts are drawn, so that the bootstrap can draw them again.
A rollout drawn twice is never paired with itself: means of products over *distinct* rollouts are
unbiased estimates of products of means, and stay so under the bootstrap.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from rlhf_env.statistics import Estimate, Floats, Rows, bootstrap_rows, percentile_estimate

# Resamples at a time; each holds the inner products of all pairs of rollouts.
BATCH = 100


def inner_products(first: NDArray[np.float32], second: NDArray[np.float32]) -> Floats:
    """Return [K, K] inner products of two settings' [K, P] gradients, in double precision."""
    return first.astype(np.float64) @ second.astype(np.float64).T


def product_of_means(products: Floats, rows: Rows) -> Floats:
    """Estimate ⟨E g, E h⟩ without bias.

    The mean of ⟨g_i, h_j⟩ over pairs of distinct rollouts i ≠ j.

    Args:
        products: [K, K] of `inner_products`.
        rows: [..., N] which rollouts are drawn; not all of them the same.

    Returns:
        [...] estimates; of ‖E g‖² they can be negative where the noise is large.
    """
    drawn, distinct = _pairs(products, rows)
    return np.where(distinct, drawn, 0.0).sum(axis=(-2, -1)) / distinct.sum(axis=(-2, -1))


def total_variance(products: Floats, rows: Rows) -> Floats:
    """Estimate the trace of the covariance without bias: E‖g‖² − ‖E g‖²."""
    squares = np.diagonal(products)[rows].mean(axis=-1)
    return squares - product_of_means(products, rows)


def noise_to_signal(products: Floats, rows: Rows) -> Floats:
    """Return the total variance over ‖E g‖²; infinite if no signal is detectable."""
    signal = product_of_means(products, rows)
    variance = total_variance(products, rows)
    # Not np.where alone, which would divide by zero first.
    return np.divide(variance, signal, out=np.full_like(signal, np.inf), where=signal > 0.0)


def plain_cosine(first: Floats, cross: Floats, second: Floats) -> float:
    """Return the cosine between the means of the K gradients, noise included."""
    return float(cross.mean() / np.sqrt(first.mean() * second.mean()))


def cosine_of_means(first: Floats, cross: Floats, second: Floats, rows: Rows) -> Floats:
    """Estimate the cosine between E g and E h, the noise taken out; it can exceed 1.

    Args:
        first: [K, K] inner products of the g among themselves.
        cross: [K, K] of g with h.
        second: [K, K] of the h among themselves.
        rows: [..., N] which rollouts are drawn.
    """
    squares = product_of_means(first, rows) * product_of_means(second, rows)
    known = squares > 0.0
    norm = np.sqrt(squares, out=np.full_like(squares, np.nan), where=known)
    return product_of_means(cross, rows) / norm


def over_rollouts(statistic: Callable[[Rows], Floats], count: int, seed: int = 0) -> Estimate:
    """Return a statistic of all rollouts with its 95 % percentile bootstrap interval.

    Args:
        statistic: of [..., K] drawn rollouts.
        count: K.
        seed: of the resampling.

    Returns:
        The estimate; without an interval where some resamples do not give a number.
    """
    value = float(statistic(np.arange(count)))
    return percentile_estimate(
        value, bootstrap_rows(statistic, count, seed=seed, batch=BATCH), count
    )


def _pairs(products: Floats, rows: Rows) -> tuple[Floats, NDArray[np.bool_]]:
    first, second = rows[..., :, None], rows[..., None, :]
    return products[first, second], first != second
