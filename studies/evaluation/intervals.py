"""Means over responses, and how often one agent beats another, with 95 % intervals."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from studies.statistics.intervals import LEVEL, Estimate

RESAMPLES = 2000
# Numbers that a bootstrap draws at a time.
BATCH = 2_000_000


def mean(values: ArrayLike, seed: int = 0) -> Estimate:
    """Return the mean over responses with a percentile bootstrap interval.

    Args:
        values: [N] one finite number per response.
        seed: of the resampling.

    Returns:
        The mean, without an interval for a single response.
    """
    row = np.asarray(values, dtype=float)
    value, count = float(row.mean()), len(row)
    if count < 2:
        return Estimate(value=value, low=None, high=None, count=count)
    # Percentile, because the bias-corrected kind is undefined where all responses agree.
    found = stats.bootstrap(
        (row,),
        np.mean,
        n_resamples=RESAMPLES,
        batch=max(1, BATCH // count),
        confidence_level=LEVEL,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Estimate(value=value, low=float(found.low), high=float(found.high), count=count)


def win_rate(ours: ArrayLike, theirs: ArrayLike) -> Estimate:
    """Return how often the first number of a pair is larger, ties counting half.

    The interval is Wilson's, which knows that 10 wins of 10 are no certainty. Half a win more is
    taken for neither: the lower end is that of the wins rounded down, the upper of those rounded
    up, which with ties is somewhat too wide.

    Args:
        ours: [N] of one agent.
        theirs: [N] of the other, on the same prompts.
    """
    difference = np.asarray(ours, dtype=float) - np.asarray(theirs, dtype=float)
    count = len(difference)
    wins = float((difference > 0).sum() + (difference == 0).sum() / 2)
    low, high = (
        stats.binomtest(whole, count).proportion_ci(LEVEL, method="wilson")
        for whole in (math.floor(wins), math.ceil(wins))
    )
    return Estimate(value=wins / count, low=float(low.low), high=float(high.high), count=count)
