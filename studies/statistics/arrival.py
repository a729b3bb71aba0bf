"""How soon a learning curve arrives: episodes to a share of what there is to gain, or never.

What there is to gain lies between J of the reference, where every policy starts, and J*. A run that
does not arrive within its budget is censored: all that is known is that it takes longer. Its number
of episodes is infinity here. Medians and percentiles stay what they are whatever a censored run
would have taken, as long as it counts as the longest; means would not.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from rlhf_env.statistics import LEVEL, Estimate, Floats, Rows, bootstrap_rows

NEVER = math.inf
TARGET = 0.9


def gained_share(objective: ArrayLike, reference: float, optimum: float) -> Floats:
    """Return (J − J_ref) / (J* − J_ref): 0 at the reference, 1 at the optimum, below 0 if worse.

    Args:
        objective: J of any number of policies.
        reference: J_ref.
        optimum: J*.

    Raises:
        ValueError: if there is nothing to gain.
    """
    if not optimum > reference:
        raise ValueError(
            f"optimum must be above the reference's objective {reference:g}, got {optimum:g}; "
            "there is nothing to gain on this task"
        )
    return (np.asarray(objective, dtype=float) - reference) / (optimum - reference)


def first_arrival(episodes: ArrayLike, gained: ArrayLike, target: float = TARGET) -> float:
    """Return the episodes at the first point of a curve that has gained enough; else `NEVER`.

    A curve that falls back later has arrived all the same.

    Args:
        episodes: [U] seen so far, ascending.
        gained: [U] of `gained_share`; NaN where it was not measured.
        target: the share that is enough.
    """
    # Nothing compares as at least the target with NaN.
    reached = np.asarray(gained, dtype=float) >= target
    return float(np.asarray(episodes, dtype=float)[reached.argmax()]) if reached.any() else NEVER


def arrival_estimate(arrivals: ArrayLike, seed: int = 0) -> Estimate | None:
    """Return the median over runs with a 95 % percentile bootstrap interval, "never" included.

    Runs that never arrive are the longest ones in every resample. The ends of the interval are
    resampled medians and not interpolated ones: between a number and infinity lies no number.
    The median is infinite where half of the runs or more never arrive, and an interval that ends
    in infinity is one that the budget cuts off.

    Args:
        arrivals: [N] episodes of each run, `NEVER` among them; runs that are NaN are left out.
        seed: of the resampling.

    Returns:
        The estimate, without an interval for a single run; None for no run.
    """
    given = np.asarray(arrivals, dtype=float)
    known = given[~np.isnan(given)]
    if not len(known):
        return None
    value, count = float(np.median(known)), len(known)
    if count == 1:
        return Estimate(value=value, low=None, high=None, count=count)

    def median(drawn: Rows) -> Floats:
        return np.median(known[drawn], axis=-1)

    ends = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    resampled = bootstrap_rows(median, count, seed=seed)
    low, high = np.quantile(resampled, ends, method="inverted_cdf")
    return Estimate(value=value, low=float(low), high=float(high), count=count)


def are_apart(one: Estimate, other: Estimate) -> bool:
    """Return whether two estimates have intervals that do not touch; False where one has none."""
    if one.low is None or one.high is None or other.low is None or other.high is None:
        return False
    return one.high < other.low or other.high < one.low
