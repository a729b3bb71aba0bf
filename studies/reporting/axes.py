"""The axes of a results table: which columns are settings, which vary, which runs share a setting.

Nothing is measured or drawn in here.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np
import pandas as pd

from studies.experiment.grid import Budget, RunSettings

# Each task has its own section, and figures show these two as columns and rows of panels.
TASK = "task"
PANEL_AXES = ("granularity", "density")
# The seed distinguishes the runs of a setting; how often is paid follows from the density.
NOT_AXES = frozenset({"seed", "budget", "every_k", TASK})
AXES = tuple(
    field.name
    for record in (RunSettings, Budget)
    for field in dataclasses.fields(record)
    if field.name not in NOT_AXES
)
MISSING = "–"


def axes_of(table: pd.DataFrame) -> list[str]:
    """Return the columns that distinguish the settings of one task, in the grid's order."""
    return [name for name in AXES if name in table]


def varied_axes(table: pd.DataFrame) -> list[str]:
    """Return the axes along which the runs of any one agent differ; the agent always.

    An axis that one agent has and another has not is not varied by that alone.
    """
    if table.empty:
        return axes_of(table)
    agents = table.groupby("agent", dropna=False)
    return [
        name
        for name in axes_of(table)
        if name == "agent" or max(agents[name].nunique().tolist(), default=0) > 1
    ]


def shared_axes(table: pd.DataFrame, axis: str) -> list[str]:
    """Return the axes in which runs have to agree to be compared along another one."""
    others = [name for name in axes_of(table) if name != axis]
    if axis == "agent":
        # An agent's own settings need not agree with what another agent has.
        others = [name for name in others if MISSING not in values(table, name)]
    return others


def groups(
    table: pd.DataFrame, names: Sequence[str]
) -> Iterator[tuple[tuple[Any, ...], pd.DataFrame]]:
    """Yield the values of some columns and the rows that have them, in order of appearance."""
    if not names:
        yield (), table
        return
    for key, rows in table.groupby(list(names), dropna=False, sort=False):
        yield cast(tuple[Any, ...], key), rows


def rows_where(table: pd.DataFrame, is_kept: Any) -> pd.DataFrame:
    """Return the rows of a table that a mask keeps."""
    return cast(pd.DataFrame, table.loc[np.asarray(is_kept, dtype=bool)])


def values(table: pd.DataFrame, name: str) -> list[str]:
    """Return the different values of a column in order of appearance."""
    return list(dict.fromkeys(table[name]))


def has(table: pd.DataFrame, name: str) -> bool:
    """Return True if anything was measured under a name."""
    return name in table and not bool(table[name].isna().all())


def successes(results: pd.DataFrame) -> pd.DataFrame:
    """Return the runs that ended well, every axis' value as it is read."""
    good = rows_where(results, results["status"] == "ok")
    return good.assign(**{name: [text_of(value) for value in good[name]] for name in axes_of(good)})


def by_task(results: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the rows of every task; one nameless task where the table does not name them."""
    if TASK not in results:
        return {"": results}
    return {text_of(key): rows for (key,), rows in groups(results, [TASK])}


def limited(table: pd.DataFrame, limits: Mapping[str, int]) -> tuple[pd.DataFrame, str]:
    """Return the rows with the first values of some axes, and a sentence on those left out.

    Args:
        table: of the runs, every axis' value as it is read.
        limits: axis -> how many of its values can be shown.
    """
    kept, notes = table, []
    for name, most in limits.items():
        known = values(table, name)
        if len(known) > most:
            kept = rows_where(kept, kept[name].isin(known[:most]))
            notes.append(f"{most} of {len(known)} values of {name}")
    return kept, f" Shown: {', '.join(notes)}; the others are in results.csv." if notes else ""


def text_of(value: object) -> str:
    """Return how an axis' value is written: numbers short, a missing setting as a dash."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return MISSING
    return f"{value:g}" if isinstance(value, float) else str(value)
