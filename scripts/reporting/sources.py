"""Reading the files that a report is made of, or saying in one sentence which is damaged."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from scripts.ablation.folder import CURVES, FRONTIER, RESULTS, read_settings
from scripts.ablation.results import read_csv
from scripts.reporting.drawings import TITLES, Tables
from scripts.reporting.tables import METRICS

REBUILD = "run the same scripts/ablate.py command again, which makes it anew from the runs"
IDENTITY = ("run_id", "status", "error", "command", "seed")
AXES = ("agent", "gamma", "density", "granularity", "gae_lambda", "kl_coef", "group_size")


def read_sources(folder: Path) -> tuple[dict[str, Any], pd.DataFrame, Tables]:
    """Return the settings, the rows of all runs, and what the figures are drawn from.

    Raises:
        ValueError: if a file is damaged: which, why, and what to do.
    """
    settings = read_settings(folder)
    results = _table(folder / RESULTS, (*IDENTITY, *AXES), tuple(METRICS))
    curves = _table(folder / CURVES, ("run_id", "update"), ("update", *TITLES))
    frontier = _table(folder / FRONTIER, ("kl", "score"), ("kl", "score"))
    return settings, results, Tables.of(results, curves, frontier)


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
            wrong = next(cell for cell in table[name] if not _is_number(cell))
            raise ValueError(
                f"{path} must have numbers in its column {name}, got {str(wrong)[:40]!r}; {REBUILD}"
            )
    return table


def _is_number(cell: object) -> bool:
    try:
        float(str(cell))
    except ValueError:
        return False
    return True
