"""Shares and other numbers over judgements, with 95 % intervals that respect prompts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, bootstrap

Floats = NDArray[np.float64]
LEVEL = 0.95
RESAMPLES = 2000


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A number measured on held-out data.

    Attributes:
        value: the number.
        low: lower end of its 95 % interval.
        high: upper end of it.
    """

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        """Return for example ``0.556 [0.522, 0.589]``."""
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def share(
    right: Floats, groups: Sequence[str], *, weights: Floats | None = None
) -> Estimate | None:
    """Return the weighted share of right judgements; None where there is none.

    Where no two judgements are about one prompt the interval is Wilson's. Otherwise judgements of
    one prompt are not independent, and whole prompts are drawn again: a percentile bootstrap,
    always the same one. Where all prompts agree, which leaves a bootstrap no width, the interval is
    Wilson's as if each prompt were one judgement.

    Args:
        right: [N] 1 for right, 0 for wrong, anything between for a part of it.
        groups: [N] the prompt of each.
        weights: [N] how many judgements each stands for; one by default.
    """
    counts = np.ones(len(right)) if weights is None else weights
    rights, totals = grouped(right * counts, groups), grouped(counts, groups)
    rights, totals = rights[totals > 0], totals[totals > 0]
    if not len(totals):
        return None
    value = float(rights.sum() / totals.sum())
    shares = rights / totals
    if (totals == 1).all() or np.ptp(shares) == 0:
        return _wilson(value, len(totals))

    def ratio(rights: Floats, totals: Floats, axis: int) -> Floats:
        return rights.sum(axis=axis) / totals.sum(axis=axis)

    found = bootstrap(
        (rights, totals),
        ratio,
        paired=True,
        vectorized=True,
        n_resamples=RESAMPLES,
        confidence_level=LEVEL,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return Estimate(value=value, low=float(found.low), high=float(found.high))


def resampled(
    statistic: Callable[[NDArray[np.int64]], float],
    groups: Sequence[str],
    *,
    resamples: int = RESAMPLES,
) -> Estimate:
    """Return a statistic of rows with a percentile bootstrap interval over whole prompts.

    Args:
        statistic: of the numbers of some rows, which may occur more than once.
        groups: [N] the prompt of each row.
        resamples: how often prompts are drawn again.
    """
    members = group_numbers(groups)
    rows = [np.flatnonzero(members == number) for number in range(members.max() + 1)]
    generator = np.random.default_rng(0)
    draws = generator.integers(len(rows), size=(resamples, len(rows)))
    values = [statistic(np.concatenate([rows[number] for number in draw])) for draw in draws]
    low, high = np.nanquantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    everything = np.arange(len(groups))
    return Estimate(value=statistic(everything), low=float(low), high=float(high))


def grouped(values: Floats, groups: Sequence[str]) -> Floats:
    """Return the sums of values [N] over equal groups, in order of appearance, [G]."""
    sums = np.bincount(group_numbers(groups), weights=values)
    return sums.astype(np.float64)


def group_numbers(groups: Sequence[str]) -> NDArray[np.int64]:
    """Return the number of each group, [N], counted by appearance."""
    numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    return np.array([numbers[group] for group in groups], dtype=np.int64)


def _wilson(value: float, count: int) -> Estimate:
    """Return Wilson's interval; a half judgement widens it to either side."""
    right = value * count
    low, high = (
        binomtest(whole, count).proportion_ci(LEVEL, method="wilson")
        for whole in (int(np.floor(right + 1e-9)), int(np.ceil(right - 1e-9)))
    )
    return Estimate(value=value, low=float(low.low), high=float(high.high))
