"""The table of an ablation: one line per setting, interquartile means over its seeds."""

from __future__ import annotations

import shutil
import textwrap
from dataclasses import dataclass

import pandas as pd

from rlhf_env.statistics import Estimate
from studies.reporting.axes import TASK, axes_of, groups, has, text_of, values, varied_axes
from studies.statistics.intervals import estimates

# Column -> heading, in the order of the table. Only columns that were measured appear.
METRICS = {
    "j_ratio": "J/J*",
    "regret": "regret",
    "score": "score",
    "gold": "gold",
    "pass_at_1": "pass@1",
    "pass_at_4": "pass@4",
    "kl": "KL (nats)",
    "win_rate": "win rate",
    "response_length": "length (tokens)",
    "entropy": "entropy (nats)",
    "eos_rate": "EOS rate",
}
# Column with the episodes that J is estimated from; empty where J is exact.
ESTIMATED = "objective_episodes"
# Of the terminal's table.
MAX_MEASURES = 5
# What is not read on a terminal has room for all measures with their intervals.
FILE_WIDTH = 160


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One setting of the grid."""

    settings: dict[str, str]
    """Axis -> value, as text."""
    runs: int
    """How many runs ended well."""
    failed: int
    """How many failed."""
    estimates: dict[str, Estimate]
    """Metric -> interquartile mean over the runs, where there is one."""
    episodes: int = 0
    """From how many of each run J/J* and the regret are estimated; 0 where they are computed from
    the policy's probabilities, or not known.
    """


def cells(results: pd.DataFrame, shown: int | None = None) -> list[Cell]:
    """Return the settings of a grid in its order.

    Args:
        results: the table of `studies.results.records.write_results`; may be empty.
        shown: how many of them are written out; the others get the headline metric alone. All
            when None.
    """
    if results.empty:
        return []
    axes = [*_tasks(results), *axes_of(results)]
    settings = list(groups(results, axes))
    good = [rows[(rows["status"] == "ok").to_numpy()] for _, rows in settings]
    measured = [name for name in METRICS if name in results]
    wanted = {name: len(good) if name == headline(results) else shown for name in measured}
    numbers = {name: estimates([rows[name] for rows in good[: wanted[name]]]) for name in measured}
    return [
        Cell(
            settings={name: text_of(value) for name, value in zip(axes, key, strict=True)},
            runs=len(good[place]),
            failed=len(rows) - len(good[place]),
            estimates={
                name: found[0]
                for name in measured
                if (found := numbers[name][place : place + 1]) and found[0] is not None
            },
            episodes=_episodes(pd.DataFrame(good[place])),
        )
        for place, (key, rows) in enumerate(settings)
    ]


def headline(results: pd.DataFrame) -> str:
    """Return the metric that the runs are best compared by: the truest that was measured."""
    for name in ("j_ratio", "gold", "score"):
        if has(results, name):
            return name
    return "score"


def metrics_of(found: list[Cell]) -> list[str]:
    """Return the metrics that any setting has, in the order of the table."""
    return [name for name in METRICS if any(name in cell.estimates for cell in found)]


def as_text(results: pd.DataFrame, width: int | None = None) -> str:
    """Return the table for a terminal, one line per setting.

    Where it is too wide, intervals are left out from the last measure to the first, then measures.

    Args:
        results: the table of `studies.results.records.write_results`; may be empty.
        width: in characters; that of the terminal when None.
    """
    found = cells(results)
    if not found:
        return "no runs"
    limit = shutil.get_terminal_size((FILE_WIDTH, 24)).columns if width is None else width
    axes, measured = [*_tasks(results), *varied_axes(results)], metrics_of(found)
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
    notes = [f"In results.csv also: {', '.join(left_out)}."] if left_out else []
    notes += _estimated(found)
    return "\n".join([text, *(textwrap.fill(note, max(limit, 20)) for note in notes)])


def _tasks(results: pd.DataFrame) -> list[str]:
    """Return the column of the task where there are several; their runs have no common mean."""
    return [TASK] if TASK in results and len(values(results, TASK)) > 1 else []


def _table(found: list[Cell], axes: list[str], names: list[str], intervals: int) -> str:
    lines = [
        {axis: cell.settings[axis] for axis in axes}
        | {"runs": str(cell.runs) + (f" (+{cell.failed} failed)" if cell.failed else "")}
        | {
            METRICS[name]: _number(cell, name, index < intervals)
            for index, name in enumerate(names)
        }
        for cell in found
    ]
    return pd.DataFrame(lines).to_string(index=False)


def _episodes(good: pd.DataFrame) -> int:
    if not has(good, ESTIMATED):
        return 0
    return int(good[ESTIMATED].to_numpy(dtype=float).max())


def _estimated(found: list[Cell]) -> list[str]:
    """Return a sentence on J/J* and regret that are estimates, if there are any."""
    episodes = {cell.settings["agent"]: cell.episodes for cell in found if cell.episodes}
    return [
        f"J/J* and regret of {agent} are estimated from {count} episodes of each run."
        for agent, count in episodes.items()
    ]


def _width(text: str) -> int:
    return max(map(len, text.splitlines()))


def _number(cell: Cell, name: str, has_interval: bool) -> str:
    found = cell.estimates.get(name)
    if found is None:
        return "not measured" if cell.runs else ""
    return str(found) if has_interval else f"{found.value:.3f}"
