"""Reading the files that a report is made of, or saying in one sentence which is damaged."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from studies.reporting.axes import TASK, by_task, rows_where
from studies.reporting.plots import Tables
from studies.reporting.tables import METRICS
from studies.reporting.titles import TITLES
from studies.results.csv_files import read_csv
from studies.results.folder import CURVES, FRONTIER, RESULTS, read_settings
from studies.results.run_folder import WORKING_FOLDER

REBUILD = "run the same scripts/ablate.py command again, which makes it anew from the runs"
MAX_NAME = 60
IDENTITY = ("run_id", "status", "error", "command", "seed")
# Of the map of horizons.
RUN_NUMBERS = ("horizon", "optimum", "reference_objective")
CURVE_NUMBERS = ("episodes", "gained")
AXES = ("agent", "gamma", "density", "granularity", "gae_lambda", "kl_coef", "group_size")


@dataclass(frozen=True, kw_only=True)
class Source:
    """What is known of one task's runs."""

    task: str
    """Its name; empty where the table does not name any."""
    results: pd.DataFrame
    """One row per run, failed ones too."""
    tables: Tables
    """What the figures are drawn from."""


def read_sources(folder: Path) -> tuple[dict[str, Any], pd.DataFrame, list[Source]]:
    """Return the settings, the rows of all runs, and task by task what a report is made of.

    Raises:
        ValueError: if a file is damaged: which, why, and what to do.
    """
    # A page that is handed on need not name the folders of the machine that it was made on.
    settings = {k: v for k, v in read_settings(folder).items() if k != WORKING_FOLDER}
    results = _table(folder / RESULTS, (*IDENTITY, *AXES), (*METRICS, *RUN_NUMBERS))
    curves = _table(folder / CURVES, ("run_id", "update"), ("update", *CURVE_NUMBERS, *TITLES))
    frontier = _table(folder / FRONTIER, ("kl", "score"), ("kl", "score"))
    tasks = by_task(results) if len(results) else {}
    sources = [
        Source(
            task=task,
            results=rows,
            tables=Tables.of(rows, curves, _of_task(frontier, task, len(tasks))),
        )
        for task, rows in tasks.items()
    ]
    return settings, results, sources


def file_prefixes(sources: Sequence[Source]) -> list[str]:
    """Return how the names of each task's figures begin: empty where there is one task."""
    if len(sources) < 2:
        return [""] * len(sources)
    # The number distinguishes names whose letters a file system treats as equal.
    return [
        f"{number}-{re.sub(r'[^A-Za-z0-9._-]', '_', source.task)[:MAX_NAME]}-"
        for number, source in enumerate(sources, start=1)
    ]


def _of_task(frontier: pd.DataFrame, task: str, tasks: int) -> pd.DataFrame:
    """Return one task's frontier; none if there are several tasks and no task column."""
    if frontier.empty or (TASK not in frontier and tasks == 1):
        return frontier
    if TASK not in frontier:
        return frontier.head(0)
    return rows_where(frontier, frontier[TASK] == task)


def _table(path: Path, columns: Sequence[str], numbers: Sequence[str]) -> pd.DataFrame:
    """Return a table that has these columns, and numbers in some of them; it may be empty."""
    try:
        table = read_csv(path)
    except ValueError as error:
        raise ValueError(f"{error}; {REBUILD}") from error
    if table.empty:
        return pd.DataFrame()
    missing = [name for name in columns if name not in table]
    if missing:
        raise ValueError(
            f"{path} must have the columns {', '.join(columns)}, got none called "
            f"{', '.join(missing)}; {REBUILD}"
        )
    for name in (name for name in numbers if name in table):
        if not pd.api.types.is_numeric_dtype(table[name]):
            wrong = next((cell for cell in table[name] if not _is_number(cell)), None)
            if wrong is not None:
                raise ValueError(
                    f"{path} must have numbers in its column {name}, got {str(wrong)[:40]!r}; "
                    f"{REBUILD}"
                )
            table[name] = table[name].astype(float)
    return table


def _is_number(cell: object) -> bool:
    try:
        float(str(cell))
    except ValueError:
        return False
    return True
