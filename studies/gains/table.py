"""Differences along one axis of a grid, between runs that are equal in all else and in the seed.

Runs of one seed draw the same prompts, so that a difference is not blurred by what both share.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from rlhf_env.statistics import Floats
from studies.reporting.axes import axes_of, groups, shared_axes, successes, values, varied_axes
from studies.reporting.tables import METRICS
from studies.statistics.intervals import estimate


def gains_table(results: pd.DataFrame, axis: str, over: str | None, measures: Sequence[str]) -> str:
    """Return the Markdown table of one task: a line per measure and setting.

    Args:
        results: the rows of one task's runs; those that failed are left out.
        axis: whose values are compared.
        over: the value that is subtracted; the first one when None.
        measures: columns of numbers.

    Returns:
        Interquartile means over seeds of the measure for every value of the axis, and for all but
        ``over`` that of the differences seed by seed, with its 95 % bootstrap interval.

    Raises:
        ValueError: if there is no such axis, value or measure, or nothing to compare.
    """
    good = successes(results)
    _check(good, axis, over, measures)
    known = values(good, axis)
    base = known[0] if over is None else over
    others = [value for value in known if value != base]
    shown = [name for name in varied_axes(good) if name != axis and len(values(good, name)) > 1]
    gains = [head for value in others for head in (_head(axis, value), "gain")]
    lines = [
        [METRICS.get(measure, measure), *settings, *cells]
        for measure in measures
        for settings, cells in _lines(good, axis, base, others, measure, shown)
    ]
    return _markdown(["measure", *shown, _head(axis, base), *gains], lines)


def gain(more: pd.DataFrame, less: pd.DataFrame, measure: str) -> Floats:
    """Return the differences of a measure at the seeds that both have, [N]."""
    ours, theirs = (rows.set_index("seed")[measure] for rows in (more, less))
    return np.asarray((ours - theirs).dropna(), dtype=float)


def _lines(
    good: pd.DataFrame,
    axis: str,
    base: str,
    others: Sequence[str],
    measure: str,
    shown: Sequence[str],
) -> Iterator[tuple[list[str], list[str]]]:
    for _, rows in groups(good, shared_axes(good, axis)):
        parts = {str(value): part for (value,), part in groups(rows, [axis])}
        if base not in parts:
            continue
        cells = [_level(parts[base], measure)]
        for value in others:
            if value not in parts:
                cells += ["", ""]
                continue
            found = gain(parts[value], parts[base], measure)
            cells += [_level(parts[value], measure), signed(found)]
        yield [str(rows[name].iloc[0]) for name in shown], cells


def _head(axis: str, value: str) -> str:
    """Return the heading of a column; a number alone would not tell what it is of."""
    return value if value[:1].isalpha() else f"{axis} {value}"


def _level(rows: pd.DataFrame, measure: str) -> str:
    found = estimate(rows[measure].to_numpy())
    return "" if found is None else f"{found.value:.3f}"


def signed(differences: Floats) -> str:
    """Return the interquartile mean of differences with its interval, every number signed.

    Runs that are equal to the last digit at every seed are "the same".
    """
    found = estimate(differences)
    if found is None:
        return ""
    if not differences.any():
        return "the same"
    if found.low is None or found.high is None:
        return _with_sign(found.value)
    return f"{_with_sign(found.value)} [{_with_sign(found.low)}, {_with_sign(found.high)}]"


def _with_sign(value: float) -> str:
    # A difference that rounds to nothing is not below 0.
    return f"{round(value, 3) + 0.0:+.3f}"


def _check(good: pd.DataFrame, axis: str, over: str | None, measures: Sequence[str]) -> None:
    if good.empty:
        raise ValueError("results must have runs that ended well, got none")
    if axis not in axes_of(good):
        raise ValueError(f"axis must be one of {', '.join(axes_of(good))}, got {axis!r}")
    known = values(good, axis)
    if over is not None and over not in known:
        raise ValueError(f"over must be a value of {axis}, {', '.join(known)}, got {over!r}")
    if len(known) < 2:
        raise ValueError(
            f"axis must have values to compare, got {axis} with {known[0]} alone; name another"
        )
    for name in measures:
        if name not in good or not pd.api.types.is_numeric_dtype(good[name]):
            raise ValueError(f"measures must be columns of numbers, such as score, got {name!r}")


def _markdown(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    shown = [heads, ["---"] * len(heads), *lines]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in shown)
