"""Which value of an axis is better: the probability of improvement along every axis of a grid.

As Agarwal et al. propose (arXiv:2108.13264); the statistic is Mann and Whitney's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from rlhf_env.statistics import Estimate, Floats
from studies.reporting.axes import rows_where, shared_axes, successes, values, varied_axes
from studies.statistics.intervals import finite, interval

RESAMPLES = 1000
# Runs of one seed that agree this closely in all measures are the same run: what differs between
# their settings has no effect on them by construction, as a discount has none on a bandit.
SAME = {"rtol": 1e-4, "atol": 1e-6, "equal_nan": True}


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One value of an axis against the axis' first."""

    axis: str
    """What is compared."""
    value: str
    """The one that is asked about."""
    baseline: str
    """The first value of the axis."""
    probability: Estimate | None
    """That a run with the one beats a run with the other; None where all are the same runs, or one
    of the values was not measured.
    """
    settings: int
    """How many pairs of settings, equal in all else, it rests on."""
    same: int
    """How many more pairs were left out, because they hold the same runs."""
    measured: bool = True
    """Whether runs of both values have the metric."""

    @property
    def text(self) -> str:
        """How a table writes the probability.

        Where every run of one beat every run of the other, resampling them shows no spread, which
        does not carry over to other seeds.
        """
        found = self.probability
        if found is None:
            return "no difference" if self.measured else "not measured"
        if found.low is not None and found.low == found.high:
            return f"{found.value:.3f} (in all {found.count} runs, so no interval)"
        return str(found)


def comparisons(results: pd.DataFrame, metric: str, measured: Sequence[str]) -> list[Comparison]:
    """Return, along every axis, how often each value beats the first, all else being equal.

    Args:
        results: the rows of one task's runs; those that failed are left out.
        metric: what decides; larger is better.
        measured: the metrics in which equal runs agree.
    """
    if results.empty or metric not in results:
        return []
    ended = successes(results)
    good = rows_where(ended, ended[metric].abs() < np.inf)
    return [
        found
        for axis in varied_axes(results)
        for found in (*_along(good, axis, metric, measured), *_unmeasured(ended, good, axis))
    ]


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
    known = [(finite(first), finite(second)) for first, second in pairs]
    kept = [pair for pair in known if len(pair[0]) and len(pair[1])]
    if not kept:
        return None
    vectors = [row for pair in kept for row in pair]
    value, count = float(_mean_superiority(*vectors)), sum(map(len, vectors))
    if min(map(len, vectors)) < 2:
        return Estimate(value=value, low=None, high=None, count=count)
    low, high = interval(vectors, _mean_superiority, seed, RESAMPLES)
    return Estimate(value=value, low=float(low), high=float(high), count=count)


def _along(
    good: pd.DataFrame, axis: str, metric: str, measured: Sequence[str]
) -> Iterator[Comparison]:
    others = shared_axes(good, axis)
    names = [name for name in measured if name in good]
    keyed = good.assign(setting=good.groupby(others, sort=False).ngroup() if others else 0)
    known = values(good, axis)
    for value in known[1:]:
        ours, theirs = (rows_where(keyed, keyed[axis] == name) for name in (value, known[0]))
        shared = set(ours["setting"]) & set(theirs["setting"])
        same = _same_runs(ours, theirs, names)
        kept = sorted(shared - same)
        left, right = _by_setting(ours, metric), _by_setting(theirs, metric)
        found = probability_of_improvement([(left[key], right[key]) for key in kept])
        if shared:
            yield Comparison(
                axis=axis,
                value=value,
                baseline=known[0],
                probability=found,
                settings=len(kept),
                same=len(same),
            )


def _unmeasured(ended: pd.DataFrame, good: pd.DataFrame, axis: str) -> Iterator[Comparison]:
    """Yield the values of an axis whose runs ended well, none of them with the metric."""
    known = values(good, axis)
    for value in values(ended, axis):
        if known and value not in known:
            yield Comparison(
                axis=axis,
                value=value,
                baseline=known[0],
                probability=None,
                settings=0,
                same=0,
                measured=False,
            )


def _same_runs(ours: pd.DataFrame, theirs: pd.DataFrame, names: list[str]) -> set[int]:
    """Return the settings whose runs agree seed by seed in every measure."""
    key = ["setting", "seed"]
    both = ours[[*key, *names]].merge(theirs[[*key, *names]], on=key, how="outer", indicator=True)
    first = both[[f"{name}_x" for name in names]].to_numpy(float)
    second = both[[f"{name}_y" for name in names]].to_numpy(float)
    agree = np.isclose(first, second, **SAME).all(axis=1) & (both["_merge"] == "both").to_numpy()
    settled = pd.Series(agree).groupby(both["setting"].to_numpy()).all()
    return {int(key) for key, is_same in settled.items() if is_same}  # type: ignore[call-overload]


def _by_setting(rows: pd.DataFrame, metric: str) -> dict[int, Floats]:
    return {
        int(key): numbers.to_numpy(float)  # type: ignore[call-overload]
        for key, numbers in rows.groupby("setting")[metric]
    }


def _mean_superiority(*vectors: Floats, axis: int = -1) -> Floats:
    """Return the mean superiority of every other vector over the one after it."""
    pairs = zip(vectors[::2], vectors[1::2], strict=True)
    return np.mean([_superiority(x, y, axis) for x, y in pairs], axis=0)


def _superiority(x: Floats, y: Floats, axis: int) -> Floats:
    # Few runs: comparing every pair is faster than ranking, and means the same.
    ours, theirs = np.moveaxis(x, axis, -1)[..., None, :], np.moveaxis(y, axis, -1)[..., None]
    wins = (ours > theirs).sum(axis=(-2, -1)) + 0.5 * (ours == theirs).sum(axis=(-2, -1))
    return np.asarray(wins / (x.shape[axis] * y.shape[axis]))
