"""Numbers with 95 % intervals: one estimate, one bootstrap, one interval of shares.

The bootstrap is scipy's, and so is Wilson's interval. Which statistic is taken over what (runs,
responses, whole prompts) is documented where it is used.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rlhf_env.extras import importing

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]
LEVEL = 0.95
RESAMPLES = 2000
# A share of so many is a whole number of wins, but for rounding.
ROUNDING = 1e-9


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A number with its 95 % interval."""

    value: float
    """The estimate."""
    low: float | None
    """Lower end of the interval; None where the data give none."""
    high: float | None
    """Upper end of the interval; None where the data give none."""
    count: int | None = None
    """How many runs, responses or pairs it is based on, if known."""

    def __str__(self) -> str:
        """Return for example ``0.983 [0.975, 0.991]``, without an interval where there is none."""
        return f"{self.value:.3f} {self.interval}".rstrip()

    @property
    def interval(self) -> str:
        """The interval, for example ``[0.975, 0.991]``; empty where there is none."""
        if self.low is None or self.high is None:
            return ""
        return f"[{self.low:.3f}, {self.high:.3f}]"


def bootstrap_interval(
    data: Sequence[Floats],
    statistic: Callable[..., Floats],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
    batch: int | None = None,
    paired: bool = False,
) -> tuple[Floats, Floats]:
    """Return the ends of a statistic's percentile bootstrap interval.

    Percentile, because the bias-corrected kind is undefined where all numbers agree.

    Args:
        data: the samples, [..., N] each, resampled along their last axis.
        statistic: of all samples, along an ``axis``.
        seed: of the resampling.
        resamples: how often.
        batch: resamples at a time; all at once when None. It decides which are drawn.
        paired: resample all samples by the same numbers, instead of each for itself.

    Returns:
        Low and high, [...]; NaN where a resample gives no number.
    """
    found = _bootstrap(data, statistic, seed, resamples, batch, paired).confidence_interval
    return found.low, found.high


def bootstrap_rows(
    statistic: Callable[[Rows], Floats],
    count: int,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
    batch: int | None = None,
) -> Floats:
    """Return a statistic of resampled rows, [resamples].

    Args:
        statistic: of [..., N] row numbers, which may occur more than once.
        count: N, how many rows there are.
        seed: of the resampling.
        resamples: how often.
        batch: resamples at a time; all at once when None. It decides which are drawn.
    """
    if count == 1:
        # scipy asks for two; one row is drawn in one way only.
        return statistic(np.zeros((resamples, 1), dtype=np.int64))

    def of_rows(drawn: Rows, axis: int) -> Floats:
        return statistic(drawn)

    return _bootstrap(
        [np.arange(count)], of_rows, seed, resamples, batch, False
    ).bootstrap_distribution


def percentile_estimate(value: float, resampled: Floats, count: int | None = None) -> Estimate:
    """Return an estimate with the percentiles of its resampled values.

    Args:
        value: the statistic of the data.
        resampled: [R] the statistic of the resamples.
        count: how many rows there are; there is no interval for one.

    Returns:
        The estimate; without an interval where a resample gives no number.
    """
    if count == 1 or not len(resampled) or not np.isfinite(resampled).all():
        return Estimate(value=value, low=None, high=None, count=count)
    low, high = np.quantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(value=value, low=float(low), high=float(high), count=count)


def wilson(wins: float, count: int) -> Estimate:
    """Return a share with Wilson's interval, whose width is not zero at 10 wins of 10.

    Half a win more is taken for neither: the lower end is that of the wins rounded down, the upper
    of those rounded up, which with ties is somewhat too wide.

    Args:
        wins: how many of them, ties counting half.
        count: how many there are.
    """
    with importing("rewards"):
        from scipy.stats import binomtest

    low, high = (
        binomtest(whole, count).proportion_ci(LEVEL, method="wilson")
        for whole in (math.floor(wins + ROUNDING), math.ceil(wins - ROUNDING))
    )
    return Estimate(value=wins / count, low=float(low.low), high=float(high.high), count=count)


def _bootstrap(
    data: Sequence[NDArray[np.generic]],
    statistic: Callable[..., Floats],
    seed: int,
    resamples: int,
    batch: int | None,
    paired: bool,
):
    with importing("rewards"):
        from scipy.stats import DegenerateDataWarning, bootstrap

    # The caller handles resamples that give no number, without a warning for each.
    with np.errstate(invalid="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", DegenerateDataWarning)
        return bootstrap(
            tuple(data),
            statistic,
            paired=paired,
            vectorized=True,
            axis=-1,
            n_resamples=resamples,
            batch=batch,
            confidence_level=LEVEL,
            method="percentile",
            rng=np.random.default_rng(seed),
        )
