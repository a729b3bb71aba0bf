"""The work of `scripts/report.py`."""

from __future__ import annotations

from pathlib import Path

from studies.reporting.report import check_folder, make_report


def run(folder: Path) -> None:
    """Make the report of a folder and print the paths of its files.

    Raises:
        ValueError: if the folder is not an ablation's.
        OSError: if a file cannot be read or written.
    """
    check_folder(folder)
    for path in make_report(folder):
        print(path)
