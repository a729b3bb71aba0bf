"""What many seeds say together: interquartile means, bootstrap intervals, who is better.

Interquartile means and stratified intervals as Agarwal et al. propose (arXiv:2108.13264); the
estimators and the bootstrap are scipy's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

LEVEL = 0.95
RESAMPLES = 2000
Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A number with what the seeds say about its uncertainty.

    Attributes:
        value: the estimate.
        low: lower end of the interval; None where the data give none.
        high: upper end of the interval; None where the data give none.
        count: how many runs it rests on.
    """

    value: float
    low: float | None
    high: float | None
    count: int

    def __str__(self) -> str:
        """Return for example ``0.983 [0.975, 0.991]``, without an interval where there is none."""
        if self.low is None or self.high is None:
            return f"{self.value:.3f}"
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def interquartile_mean(values: ArrayLike, axis: int = -1) -> Floats:
    """Return the mean of the middle half: a quarter, rounded down, is cut from either end."""
    return np.asarray(stats.trim_mean(np.asarray(values, dtype=float), 0.25, axis=axis))


def estimate(values: ArrayLike, seed: int = 0) -> Estimate | None:
    """Return the interquartile mean over runs with a 95 % percentile bootstrap interval.

    Args:
        values: [N] one number per run; numbers that are not finite are left out.
        seed: of the resampling.

    Returns:
        The estimate, without an interval for a single run; None where no number is finite.
    """
    return pooled_estimate([values], seed)


def pooled_estimate(strata: Sequence[ArrayLike], seed: int = 0) -> Estimate | None:
    """Return the interquartile mean over several settings pooled.

    The bootstrap is stratified: each setting's runs are drawn again among themselves.

    Args:
        strata: one vector of runs per setting; numbers that are not finite are left out.
        seed: of the resampling.

    Returns:
        The estimate, without an interval if no setting has two runs; None without any number.
    """
    groups = [row for row in map(_finite, strata) if len(row)]
    if not groups:
        return None
    together = np.concatenate(groups)
    value = float(interquartile_mean(together))
    repeated = [row for row in groups if len(row) > 1]
    # A setting with one run cannot be drawn differently: it stays as it is.
    fixed = np.concatenate([row for row in groups if len(row) == 1] or [np.empty(0)])
    if not repeated:
        return Estimate(value=value, low=None, high=None, count=len(together))

    def pooled(*drawn: Floats, axis: int) -> Floats:
        constant = np.broadcast_to(fixed, (*drawn[0].shape[:-1], len(fixed)))
        return interquartile_mean(np.concatenate([*drawn, constant], axis=axis), axis=axis)

    low, high = _interval(repeated, pooled, seed)
    return Estimate(value=value, low=float(low), high=float(high), count=len(together))


def band(values: ArrayLike, seed: int = 0) -> tuple[Floats, Floats, Floats]:
    """Return interquartile mean and interval at every point of several curves.

    Args:
        values: [N, U] one curve per run.
        seed: of the resampling.

    Returns:
        Middle, low and high, [U] each; low and high are NaN for a single run and where a curve is.
    """
    curves = np.asarray(values, dtype=float)
    middle = interquartile_mean(curves, axis=0)
    low, high = np.full_like(middle, math.nan), np.full_like(middle, math.nan)
    known = np.isfinite(curves).all(axis=0)
    if len(curves) > 1 and known.any():
        low[known], high[known] = _interval([curves[:, known].T], interquartile_mean, seed, 500)
    return middle, low, high


def probability_of_improvement(
    pairs: Sequence[tuple[ArrayLike, ArrayLike]], seed: int = 0
) -> Estimate | None:
    """Return how likely a run of the first kind beats one of the second, ties counting half.

    The Mann-Whitney statistic divided by the number of run pairs, averaged over settings that
    differ in nothing else; the bootstrap draws every vector of runs again for itself.

    Args:
        pairs: per setting two vectors, one number per run, larger is better. Numbers that are not
            finite are left out, and settings that lose one of their vectors by that.
        seed: of the resampling.

    Returns:
        The probability, without an interval if a vector holds a single run; None without data.
    """
    finite = [(_finite(first), _finite(second)) for first, second in pairs]
    kept = [pair for pair in finite if len(pair[0]) and len(pair[1])]
    if not kept:
        return None
    vectors = [row for pair in kept for row in pair]
    value, count = float(_mean_superiority(*vectors)), sum(map(len, vectors))
    if min(map(len, vectors)) < 2:
        return Estimate(value=value, low=None, high=None, count=count)
    low, high = _interval(vectors, _mean_superiority, seed)
    return Estimate(value=value, low=float(low), high=float(high), count=count)


def _mean_superiority(*vectors: Floats, axis: int = -1) -> Floats:
    pairs = zip(vectors[::2], vectors[1::2], strict=True)
    return np.mean([_superiority(x, y, axis) for x, y in pairs], axis=0)


def _superiority(x: Floats, y: Floats, axis: int) -> Floats:
    statistic = stats.mannwhitneyu(x, y, axis=axis, method="asymptotic").statistic
    return np.asarray(statistic) / (x.shape[axis] * y.shape[axis])


def _finite(values: ArrayLike) -> Floats:
    row = np.asarray(values, dtype=float)
    return row[np.isfinite(row)]


def _interval(
    data: Sequence[Floats], statistic: Callable[..., Floats], seed: int, resamples: int = RESAMPLES
) -> tuple[Floats, Floats]:
    # Percentile, because the bias-corrected kind is undefined where all runs agree.
    found = stats.bootstrap(
        tuple(data),
        statistic,
        vectorized=True,
        axis=-1,
        n_resamples=resamples,
        confidence_level=LEVEL,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return found.low, found.high
