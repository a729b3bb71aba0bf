"""The table of an ablation: one line per setting, interquartile means over its seeds."""

from __future__ import annotations

import math
import shutil
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import pandas as pd

from scripts.reporting.intervals import Estimate, estimate, probability_of_improvement

# What distinguishes settings; the seed distinguishes the runs of one setting.
CELL = (
    "agent",
    "gamma",
    "density",
    "granularity",
    "gae_lambda",
    "kl_coef",
    "group_size",
)
# Column -> heading, in the order of the table. Only columns that were measured appear.
METRICS = {
    "j_ratio": "J/J*",
    "regret": "regret",
    "score": "score",
    "gold": "gold",
    "kl": "KL (nats)",
    "win_rate": "win rate",
    "response_length": "length (tokens)",
    "entropy": "entropy (nats)",
    "eos_rate": "EOS rate",
}
# Of the terminal's table.
MAX_MEASURES = 5
# What is not read on a terminal has room for all measures with their intervals.
FILE_WIDTH = 160


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One setting of the grid.

    Attributes:
        settings: axis -> value, as text.
        runs: how many runs ended well.
        failed: how many failed.
        estimates: metric -> interquartile mean over the runs, where there is one.
    """

    settings: dict[str, str]
    runs: int
    failed: int
    estimates: dict[str, Estimate]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One value of an axis against the axis' first.

    Attributes:
        axis: what is compared.
        value: the one that is asked about.
        baseline: the first value of the axis.
        probability: that a run with the one beats a run with the other.
    """

    axis: str
    value: str
    baseline: str
    probability: Estimate


def cells(results: pd.DataFrame) -> list[Cell]:
    """Return the settings of a grid in its order.

    Args:
        results: the table of `scripts.ablation.results.write_results`; may be empty.
    """
    if results.empty:
        return []
    axes = [name for name in CELL if name in results]
    return [_cell(dict(zip(axes, key, strict=True)), rows) for key, rows in groups(results, axes)]


def headline(results: pd.DataFrame) -> str:
    """Return the metric that the runs are best compared by: the truest that was measured."""
    for name in ("j_ratio", "gold", "score"):
        if has(results, name):
            return name
    return "score"


def has(table: pd.DataFrame, name: str) -> bool:
    """Return True if anything was measured under a name."""
    return name in table and not bool(table[name].isna().all())


def groups(
    table: pd.DataFrame, names: Sequence[str]
) -> Iterator[tuple[tuple[Any, ...], pd.DataFrame]]:
    """Yield the values of some columns and the rows that have them, in order of appearance."""
    for key, rows in table.groupby(list(names), dropna=False, sort=False):
        yield cast(tuple[Any, ...], key), rows


def successes(results: pd.DataFrame) -> pd.DataFrame:
    """Return the runs that ended well, every axis' value as it is read."""
    good = results.query("status == 'ok'").copy()
    for name in (name for name in CELL if name in good):
        good[name] = [text_of(value) for value in good[name]]
    return good


def metrics_of(found: list[Cell]) -> list[str]:
    """Return the metrics that any setting has, in the order of the table."""
    return [name for name in METRICS if any(name in cell.estimates for cell in found)]


def varied_axes(table: pd.DataFrame) -> list[str]:
    """Return the axes along which the runs of any one agent differ; the agent always.

    An axis that one agent has and another has not is not varied by that alone.
    """
    axes = [name for name in CELL if name in table]
    if table.empty:
        return axes
    agents = [rows for _, rows in groups(table, ["agent"])]
    return [
        name for name in axes if name == "agent" or any(rows[name].nunique() > 1 for rows in agents)
    ]


def as_text(results: pd.DataFrame, width: int | None = None) -> str:
    """Return the table for a terminal, one line per setting.

    Where it is too wide, intervals are left out from the last measure to the first, then measures.

    Args:
        results: the table of `scripts.ablation.results.write_results`; may be empty.
        width: in characters; that of the terminal when None.
    """
    found = cells(results)
    if not found:
        return "no runs"
    limit = shutil.get_terminal_size((FILE_WIDTH, 24)).columns if width is None else width
    axes, measured = varied_axes(results), metrics_of(found)
    most = min(MAX_MEASURES, len(measured))
    sizes = [(most, intervals) for intervals in range(most, 0, -1)]
    sizes += [(count, 1) for count in range(most - 1, 0, -1)]
    count, intervals = next(
        (
            size
            for size in sizes
            if _width(_table(found, axes, measured[: size[0]], size[1])) <= limit
        ),
        (min(most, 1), 0),
    )
    text = _table(found, axes, measured[:count], intervals)
    left_out = [METRICS[name] for name in measured[count:]]
    note = textwrap.fill(f"In results.csv also: {', '.join(left_out)}.", max(limit, 20))
    return f"{text}\n{note}" if left_out else text


def comparisons(results: pd.DataFrame, metric: str) -> list[Comparison]:
    """Return, along every axis, how often each value beats the first, all else being equal.

    Args:
        results: the rows of all runs; those that failed are left out.
        metric: what decides; larger is better.
    """
    if results.empty or metric not in results:
        return []
    good = successes(results)
    axes = [name for name in CELL if name in good]
    return [
        found
        for axis in varied_axes(results)
        for found in _along(good, axis, [name for name in axes if name != axis], metric)
    ]


def _along(good: pd.DataFrame, axis: str, others: list[str], metric: str) -> Iterator[Comparison]:
    # An agent's own settings need not agree with what another agent has.
    matched = [n for n in others if axis != "agent" or n not in ("gae_lambda", "group_size")]
    values = list(dict.fromkeys(good[axis]))
    for value in values[1:]:
        pairs = [
            (rows.loc[rows[axis] == value, metric], rows.loc[rows[axis] == values[0], metric])
            for _, rows in groups(good, matched)
        ]
        found = probability_of_improvement(pairs)
        if found is not None:
            yield Comparison(axis=axis, value=value, baseline=values[0], probability=found)


def text_of(value: object) -> str:
    """Return how an axis' value is written: numbers short, a missing setting as a dash."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _cell(settings: dict[str, object], rows: pd.DataFrame) -> Cell:
    good = rows.query("status == 'ok'")
    numbers = {name: estimate(good[name]) for name in METRICS if name in good}
    return Cell(
        settings={name: text_of(value) for name, value in settings.items()},
        runs=len(good),
        failed=len(rows) - len(good),
        estimates={name: found for name, found in numbers.items() if found is not None},
    )


def _table(found: list[Cell], axes: list[str], names: list[str], intervals: int) -> str:
    lines = [
        {axis: cell.settings[axis] for axis in axes}
        | {"runs": str(cell.runs) + (f" (+{cell.failed} failed)" if cell.failed else "")}
        | {
            METRICS[name]: _number(cell.estimates.get(name), index < intervals)
            for index, name in enumerate(names)
        }
        for cell in found
    ]
    return pd.DataFrame(lines).to_string(index=False)


def _width(text: str) -> int:
    return max(map(len, text.splitlines()))


def _number(found: Estimate | None, has_interval: bool) -> str:
    if found is None:
        return ""
    return str(found) if has_interval else f"{found.value:.3f}"
