"""Means over responses, and how often one agent beats another, with 95 % intervals."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from rlhf_env.statistics import Estimate, bootstrap_interval, wilson

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
    batch = max(1, BATCH // count)
    low, high = bootstrap_interval([row], np.mean, seed=seed, batch=batch)
    return Estimate(value=value, low=float(low), high=float(high), count=count)


def win_rate(ours: ArrayLike, theirs: ArrayLike) -> Estimate:
    """Return how often the first number of a pair is larger, ties counting half.

    The interval is Wilson's.

    Args:
        ours: [N] of one agent.
        theirs: [N] of the other, on the same prompts.
    """
    difference = np.asarray(ours, dtype=float) - np.asarray(theirs, dtype=float)
    count = len(difference)
    wins = float((difference > 0).sum() + (difference == 0).sum() / 2)
    return wilson(wins, count)
