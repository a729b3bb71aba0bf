"""Power laws of the horizon: episodes ~ T^a, and how many times more one setting needs.

Everything is in logarithms of the episodes, as a run needs twice or half as many rather than some
more or less. A run that never arrives has no such logarithm: horizons with one are left out, and
what is left out is to be reported beside the fit.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rlhf_env.statistics import Estimate, Floats, bootstrap_interval

# Two points lie on a line whatever they are.
LEAST_HORIZONS = 3


def exponent(horizons: Sequence[int], arrivals: Sequence[Floats], seed: int = 0) -> Estimate | None:
    """Return a of episodes ~ T^a, by least squares of the mean log episodes on log T.

    The 95 % percentile bootstrap interval draws the runs of each horizon again among themselves;
    that the law itself may not hold is not in it.

    Args:
        horizons: T of each group of runs.
        arrivals: per horizon [N] episodes of each run, infinite where it never arrived.
        seed: of the resampling.

    Returns:
        The estimate from the horizons at which every run arrives, their number as its count; None
        where there are fewer than three. There is no interval if a horizon has a single run.
    """
    fitted = [(t, np.log(runs)) for t, runs in zip(horizons, arrivals, strict=True) if _all(runs)]
    if len(fitted) < LEAST_HORIZONS:
        return None
    distance = np.log([t for t, _ in fitted])
    distance = distance - distance.mean()

    def slope(*runs: Floats, axis: int) -> Floats:
        means = np.stack([sample.mean(axis=axis) for sample in runs], axis=-1)
        return means @ distance / (distance @ distance)

    return _estimated([runs for _, runs in fitted], slope, seed, len(fitted))


def ratio(these: Floats, those: Floats, seed: int = 0) -> Estimate | None:
    """Return how many times the episodes of those runs these need, as geometric means.

    Args:
        these: [N] episodes of each run, infinite where it never arrived.
        those: [M] likewise.
        seed: of the resampling.

    Returns:
        The estimate with a 95 % percentile bootstrap interval; None where a run never arrived.
    """
    if not (_all(these) and _all(those)):
        return None

    def times(one: Floats, other: Floats, axis: int) -> Floats:
        return np.exp(one.mean(axis=axis) - other.mean(axis=axis))

    return _estimated([np.log(these), np.log(those)], times, seed, len(these))


def _all(arrivals: Floats) -> bool:
    return len(arrivals) > 0 and bool(np.isfinite(arrivals).all())


def _estimated(data: Sequence[Floats], statistic, seed: int, count: int) -> Estimate:
    value = float(statistic(*data, axis=-1))
    if min(map(len, data)) < 2:
        return Estimate(value=value, low=None, high=None, count=count)
    low, high = bootstrap_interval(data, statistic, seed=seed)
    return Estimate(value=value, low=float(low), high=float(high), count=count)
