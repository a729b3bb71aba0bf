"""The command of `scripts/ablate.py`: read, check, claim the folder, run, report."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from studies.ablation.checks import check_grid, check_jobs
from studies.ablation.cores import available_cores, threads_per_job
from studies.ablation.folder import RESULTS, claim, grid_settings, why_not
from studies.ablation.grid import Axes, Budget, RunSettings, grid
from studies.ablation.interrupts import MESSAGE, STATUS, interruptions
from studies.ablation.streams import accept_any_text
from studies.ablation.version import is_version_asked

if TYPE_CHECKING:
    from studies.ablation.missing_runs import Executor
    from studies.ablation.pool import Runner
    from studies.ablation.results import Record


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What to vary, what each run may cost, and where the results go."""

    axes: tyro.conf.OmitArgPrefixes[Axes]
    budget: tyro.conf.OmitArgPrefixes[Budget]
    jobs: int | None = None
    """Runs at the same time, each in its own process (none given: one per core)."""
    threads: int | None = None
    """Threads of each run (none given: OMP_NUM_THREADS, or the cores divided by the jobs)."""
    ray: bool = False
    """Run on the Ray cluster that is there already, instead of on this machine's cores."""
    out: Path = Path("runs/ablation")
    """Folder for the results; it may hold an unfinished run of the same grid."""
    retry_failed: bool = False
    """Run again what failed before."""
    tensorboard: bool = True
    """Write each run's curve for TensorBoard."""
    report: bool = True
    """Draw the figures and write the report at the end."""
    version: bool = False
    """Print the version and leave."""


def run(arguments: list[str] | None, runner: Runner | None, description: str) -> int:
    """Do what the command line asks for; return the exit status."""
    words = sys.argv[1:] if arguments is None else arguments
    accept_any_text()
    if is_version_asked(words):
        return 0
    try:
        check_given_once(words)
        settings = tyro.cli(Settings, args=words, description=description)
        check_grid(settings.axes, settings.budget)
        check_jobs(settings.jobs, settings.threads)
        asked = grid_settings(settings.axes, settings.budget, file_digests(settings))
        executor = make_executor(settings, runner)
        claimed = claim(settings.out, asked)
    except ValueError as error:
        print(f"ablate: {error}", file=sys.stderr)
        return 2
    try:
        with claimed:
            return ablate(settings, executor)
    except ValueError as error:
        print(f"ablate: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"ablate: cannot write to {settings.out}: {why_not(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(MESSAGE, file=sys.stderr)
        return STATUS


def file_digests(settings: Settings) -> dict[str, str]:
    """Return the SHA-256 of each file that the tasks are made of, by option.

    What would fail every run of a model, and is seen without its weights, is refused here.

    Raises:
        ValueError: if one of them, a model or the reward cannot be used.
    """
    if not settings.axes.model:
        return {}
    from studies.training.material import read_material

    own = settings.budget.own
    material = read_material(own)

    from studies.training.own_checks import check_own_parts

    for model in settings.axes.model:
        check_own_parts(model, own, material)
    return material.digests


def make_executor(settings: Settings, runner: Runner | None) -> Executor:
    """Return what runs the grid: this machine's cores or a Ray cluster.

    Raises:
        ValueError: if there is no cluster.
    """
    from studies.ablation.pool import outcomes
    from studies.ablation.ray_cluster import cluster_outcomes, connect
    from studies.ablation.runs import execute

    run_one, threads = runner or execute, threads_of(settings)
    if settings.ray:
        ray = connect()
        return lambda runs: cluster_outcomes(ray, runs, run_one, settings.jobs, threads)
    jobs = settings.jobs or available_cores()
    return lambda runs: outcomes(runs, run_one, jobs, threads)


def threads_of(settings: Settings) -> int:
    """Return the threads of each run."""
    if settings.threads is not None or settings.ray:
        return settings.threads or 1
    return threads_per_job(settings.jobs or available_cores())


def ablate(settings: Settings, executor: Executor) -> int:
    """Run what is missing of a checked grid, then make tables, plots and report.

    Args:
        settings: checked.
        executor: runs what is missing.

    Returns:
        0 if every run of the grid ended well, 1 otherwise.

    Raises:
        ValueError: if the folder holds a record that cannot be read.
    """
    from studies.ablation.missing_runs import run_missing
    from studies.ablation.results import read_csv, write_frontier
    from studies.reporting.report import make_report
    from studies.reporting.tables import as_text

    with interruptions():
        records = run_missing(
            grid(settings.axes, settings.budget),
            executor,
            settings.out,
            threads=threads_of(settings),
            retry_failed=settings.retry_failed,
            tensorboard=settings.tensorboard,
        )
    write_frontier(settings.out, frontiers(records))
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


def frontiers(records: list[Record]) -> list[dict[str, Any]]:
    """Return what optimal policies reach on each task that was solved, with the task's name."""
    from studies.ablation.exact_curve import exact_frontier
    from studies.ablation.runs import run_task

    solved: dict[str, RunSettings] = {
        record.run.task_name: record.run for record in records if "j_ratio" in record.row
    }
    return [
        {"task": name, **point}
        for name, run in solved.items()
        for point in exact_frontier(run_task(run))
    ]


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
