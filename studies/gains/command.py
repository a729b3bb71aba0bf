"""The work of `scripts/gains.py`: read tables, print the gains of every task as Markdown."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from studies.gains.settings import Settings
from studies.gains.table import gains_table
from studies.reporting.axes import by_task
from studies.results.csv_files import read_csv
from studies.results.folder import RESULTS

NEEDED = ("status", "agent", "seed")


def run(settings: Settings) -> None:
    """Print a table for each task of each file.

    Raises:
        ValueError: if a file is no table of an ablation, or has nothing to compare.
    """
    for text in tables(settings):
        print(f"{text}\n")
    print("Interquartile means over seeds. A gain is the difference at the same seed to the first")
    print("column of numbers, with its 95 % bootstrap interval.")


def tables(settings: Settings) -> list[str]:
    """Return the Markdown table of every task, file by file; several have a heading each.

    Raises:
        ValueError: if a file is no table of an ablation, or has nothing to compare.
    """
    found = {}
    for path in settings.results:
        results = _read(path / RESULTS if path.is_dir() else path)
        for task, rows in by_task(results).items():
            try:
                table = gains_table(rows, settings.axis, settings.over, settings.measures)
            except ValueError as error:
                raise ValueError(f"{error} ({path})") from error
            found[path, task] = table
    if len(found) == 1:
        return list(found.values())
    several = len(settings.results) > 1
    return [
        f"**{', '.join(filter(None, (task, str(path) if several else '')))}**\n\n{table}"
        for (path, task), table in found.items()
    ]


def _read(path: Path) -> pd.DataFrame:
    results = read_csv(path)
    missing = [name for name in NEEDED if name not in results]
    if missing:
        raise ValueError(
            f"{path} must be the table of an ablation, got none of its columns "
            f"{', '.join(missing)}; name the --out of scripts/ablate.py, or its results.csv"
        )
    return results
