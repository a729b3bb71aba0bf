"""The command of `scripts/ablate.py`: read, check, claim the folder, run, report."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from scripts.ablation.checks import check_grid, check_jobs
from scripts.ablation.cores import available_cores
from scripts.ablation.folder import RESULTS, claim, why_not
from scripts.ablation.grid import Axes, Budget, grid
from scripts.ablation.interrupts import MESSAGE, STATUS, interruptions

if TYPE_CHECKING:
    from scripts.ablation.pool import Runner


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What to vary, what each run may cost, and where the results go."""

    axes: tyro.conf.OmitArgPrefixes[Axes]
    budget: tyro.conf.OmitArgPrefixes[Budget]
    jobs: int | None = None
    """Runs at the same time, each in its own process (none given: one per core)."""
    out: Path = Path("runs/ablation")
    """Folder for the results; it may hold an unfinished run of the same grid."""
    retry_failed: bool = False
    """Run again what failed before."""
    report: bool = True
    """Draw the figures and write the report at the end."""


def run(arguments: list[str] | None, runner: Runner | None, description: str) -> int:
    """Do what the command line asks for; return the exit status."""
    words = sys.argv[1:] if arguments is None else arguments
    try:
        check_given_once(words)
        settings = tyro.cli(Settings, args=words, description=description)
        check_grid(settings.axes, settings.budget)
        check_jobs(settings.jobs)
        claimed = claim(settings.out, settings.axes, settings.budget)
    except ValueError as error:
        print(f"ablate: {error}", file=sys.stderr)
        return 2
    try:
        with claimed:
            return ablate(settings, runner)
    except ValueError as error:
        print(f"ablate: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"ablate: cannot write to {settings.out}: {why_not(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(MESSAGE, file=sys.stderr)
        return STATUS


def ablate(settings: Settings, runner: Runner | None = None) -> int:
    """Run what is missing of a checked grid, then make tables, plots and report.

    Returns:
        0 if every run of the grid ended well, 1 otherwise.

    Raises:
        ValueError: if the folder holds a record that cannot be read.
    """
    from scripts.ablation.missing_runs import run_missing
    from scripts.ablation.results import read_csv, write_frontier
    from scripts.ablation.runs import exact_frontier, execute
    from scripts.report import make_report
    from scripts.reporting.tables import as_text

    with interruptions():
        records = run_missing(
            grid(settings.axes, settings.budget),
            runner or execute,
            settings.out,
            jobs=settings.jobs or available_cores(),
            retry_failed=settings.retry_failed,
        )
    if any("j_ratio" in record.row for record in records):
        write_frontier(settings.out, exact_frontier(settings.budget.task))
    print(as_text(read_csv(settings.out / RESULTS)))
    print("\nIn brackets: 95 % bootstrap intervals of the interquartile mean over seeds.")
    for path in (settings.out / RESULTS, *(make_report(settings.out) if settings.report else ())):
        print(path)
    failed = sum(record.status == "failed" for record in records)
    if failed:
        print(
            f"ablate: {failed} of {len(records)} runs failed, see the error column of "
            f"{settings.out / RESULTS}; --retry-failed runs them again",
            file=sys.stderr,
        )
    return 1 if failed else 0


def check_given_once(words: list[str]) -> None:
    """Refuse an option that is given twice, of which only the last would count.

    Raises:
        ValueError: with the option's name.
    """
    options = (word.partition("=")[0].replace("_", "-") for word in words if word[:2] == "--")
    for option, count in Counter(options).items():
        if count > 1:
            raise ValueError(
                f"{option} must be given once, got it {count} times; give all values after one "
                f"{option}"
            )
