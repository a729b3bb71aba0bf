"""Compare agents, discounts, reward densities and time granularities over seeds.

    python scripts/ablate.py
    python scripts/ablate.py --agent ppo grpo --gamma 0.9 0.99 1.0 --density terminal every_k \
        --granularity token bandit --seeds 5 --task toy15 --jobs 2 --out runs/mine

The same command again goes on where an interrupted one stopped. Exit status: 0 when all runs
ended well, 1 when some failed, 2 for settings that cannot be run, 130 after Ctrl-C.
"""

from __future__ import annotations

import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from scripts.ablation.checks import check_grid, check_jobs
from scripts.ablation.cores import available_cores
from scripts.ablation.folder import RESULTS, claim
from scripts.ablation.grid import Axes, Budget, grid

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


def main(arguments: list[str] | None = None, runner: Runner | None = None) -> int:
    """Read the command line, run what is missing of the grid, and report.

    Args:
        arguments: the command line's words; those of the process by default.
        runner: what runs one run; `scripts.ablation.runs.execute` by default.

    Returns:
        The exit status.
    """
    settings = tyro.cli(Settings, args=arguments, description=(__doc__ or "").split("\n")[0])
    try:
        check_grid(settings.axes, settings.budget)
        check_jobs(settings.jobs)
        claimed = claim(settings.out, settings.axes, settings.budget)
    except (ValueError, OSError) as error:
        print(f"ablate: {error}", file=sys.stderr)
        return 2
    try:
        with claimed:
            return ablate(settings, runner)
    except OSError as error:
        print(f"ablate: cannot write to {settings.out}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(
            f"ablate: interrupted; finished runs are kept in {settings.out}, "
            "the same command goes on from there",
            file=sys.stderr,
        )
        return 130


def ablate(settings: Settings, runner: Runner | None = None) -> int:
    """Run what is missing of a checked grid, then make tables, plots and report.

    Returns:
        0 if every run of the grid ended well, 1 otherwise.
    """
    from scripts.ablation.missing_runs import run_missing
    from scripts.ablation.results import read_csv, write_frontier
    from scripts.ablation.runs import exact_frontier, execute
    from scripts.report import make_report
    from scripts.reporting.tables import as_text

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


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _interrupt)
    sys.exit(main())
