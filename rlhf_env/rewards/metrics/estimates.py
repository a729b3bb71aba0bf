"""Shares and other numbers over judgments, with 95 % intervals that respect prompts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from rlhf_env.statistics import (
    RESAMPLES,
    Estimate,
    Floats,
    Rows,
    bootstrap_interval,
    bootstrap_rows,
    percentile_estimate,
    wilson,
)


def share(
    right: Floats, groups: Sequence[str], *, weights: Floats | None = None
) -> Estimate | None:
    """Return the weighted share of right judgments; None where there is none.

    Where no two judgments are about one prompt the interval is Wilson's. Otherwise judgments of
    one prompt are not independent, and whole prompts are drawn again: a percentile bootstrap,
    always the same one. Where all prompts agree, which leaves a bootstrap no width, the interval is
    Wilson's as if each prompt were one judgment.

    Args:
        right: [N] 1 for right, 0 for wrong, anything between for a part of it.
        groups: [N] the prompt of each.
        weights: [N] how many judgments each represents; one by default.
    """
    counts = np.ones(len(right)) if weights is None else weights
    rights, totals = grouped(right * counts, groups), grouped(counts, groups)
    rights, totals = rights[totals > 0], totals[totals > 0]
    if not len(totals):
        return None
    value = float(rights.sum() / totals.sum())
    shares = rights / totals
    if (totals == 1).all() or np.ptp(shares) == 0:
        # The value itself, not rounded by the way through the number of wins.
        return replace(wilson(value * len(totals), len(totals)), value=value)

    def ratio(rights: Floats, totals: Floats, axis: int) -> Floats:
        return rights.sum(axis=axis) / totals.sum(axis=axis)

    low, high = bootstrap_interval([rights, totals], ratio, paired=True)
    return Estimate(value=value, low=float(low), high=float(high), count=len(totals))


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

    def of_prompts(draws: Rows) -> Floats:
        return np.array(
            [statistic(np.concatenate([rows[number] for number in draw])) for draw in draws]
        )

    values = bootstrap_rows(of_prompts, len(rows), resamples=resamples)
    # A resample in which the statistic is not defined, such as one of one class only, is left out.
    known = values[~np.isnan(values)]
    return percentile_estimate(statistic(np.arange(len(groups))), known)


def grouped(values: Floats, groups: Sequence[str]) -> Floats:
    """Return the sums of values [N] over equal groups, in order of appearance, [G]."""
    sums = np.bincount(group_numbers(groups), weights=values)
    return sums.astype(np.float64)


def group_numbers(groups: Sequence[str]) -> NDArray[np.int64]:
    """Return the number of each group, [N], counted by appearance."""
    numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    return np.array([numbers[group] for group in groups], dtype=np.int64)
