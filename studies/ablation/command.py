"""The work of `scripts/ablate.py`: claim the folder, run, report."""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path
from typing import Any

from rlhf_env.tasks import family_and_horizon
from studies.ablation.batched.outcomes import Spread, batched_outcomes, check_all_batched
from studies.ablation.folder import claim, grid_settings
from studies.ablation.jobs import find_frontier, train_alone
from studies.ablation.missing_runs import Executor, Runner, run_missing
from studies.ablation.settings import Settings, threads_of
from studies.execution.cores import available_cores
from studies.execution.failure import CommandFailed
from studies.execution.interrupts import interruptions
from studies.execution.pool import outcomes
from studies.execution.ray_cluster import ClusterLostError, cluster_outcomes, connect
from studies.experiment.grid import RunSettings, grid, task_budgets
from studies.reporting.tables import as_text
from studies.results.csv_files import read_csv
from studies.results.folder import RESULTS, why_not
from studies.results.records import Record, write_frontier


def run(settings: Settings, runner: Runner | None = None) -> int:
    """Claim the folder and run what is missing in it.

    Args:
        settings: checked.
        runner: what runs one run; `execute` by default.

    Returns:
        The exit status.

    Raises:
        ValueError: if a task, a file, a model, the cluster or the folder cannot be used.
        CommandFailed: if a result cannot be written.
    """
    check_families(settings)
    # Files are read before a cluster is connected.
    asked = grid_settings(settings.axes, settings.budget, file_digests(settings))
    spread = make_spread(settings)
    if settings.batched == "on":
        check_all_batched(grid(settings.axes, settings.budget), spread)
    executor = make_executor(settings, spread, runner)
    try:
        with claim(settings.out, asked):
            return ablate(settings, executor, spread)
    except ClusterLostError as error:
        raise CommandFailed(f"--ray: {error}") from error
    except OSError as error:
        raise CommandFailed(f"cannot write to {settings.out}: {why_not(error)}") from error


def check_families(settings: Settings) -> None:
    """Make every task of a family once, if there is one.

    Raises:
        ValueError: if its options do not fit together.
    """
    budgets = task_budgets(settings.axes, settings.budget)
    if any(family_and_horizon(budget.task) is not None for budget in budgets):
        from studies.experiment.build import check_family_tasks

        check_family_tasks(budgets)


def file_digests(settings: Settings) -> dict[str, str]:
    """Return the SHA-256 of each file that the tasks are made of, by option.

    Anything that would fail every run of a model and can be seen without its weights is refused.

    Raises:
        ValueError: if one of them, a model or the reward cannot be used.
    """
    if not settings.axes.model:
        return {}
    from studies.experiment.custom_checks import check_custom_parts
    from studies.experiment.inputs import read_inputs

    own = settings.budget.own
    inputs = read_inputs(own)
    for model in settings.axes.model:
        check_custom_parts(model, own, inputs)
    return inputs.digests


def make_executor(settings: Settings, spread: Spread, runner: Runner | None) -> Executor:
    """Return what runs the grid.

    Args:
        settings: checked.
        spread: over processes.
        runner: what runs one run, each alone; stacks where they apply when None.
    """
    if runner is not None or settings.batched == "off":
        return lambda runs: spread(runs, runner or train_alone)
    jobs = settings.jobs or available_cores()
    return lambda runs: batched_outcomes(runs, spread, jobs)


def make_spread(settings: Settings) -> Spread:
    """Return what runs jobs in several processes, on this machine or on a Ray cluster.

    Raises:
        ValueError: if there is no cluster.
    """
    threads = threads_of(settings)
    if settings.ray:
        ray = connect()
        return lambda runs, runner: cluster_outcomes(ray, runs, runner, settings.jobs, threads)
    jobs = settings.jobs or available_cores()
    return lambda runs, runner: outcomes(runs, runner, jobs, threads)


def ablate(settings: Settings, executor: Executor, spread: Spread) -> int:
    """Run what is missing of a checked grid, then make tables, plots and report.

    Args:
        settings: checked.
        executor: runs what is missing.
        spread: over processes.

    Returns:
        0 if every run of the grid ended well, 1 otherwise.

    Raises:
        ValueError: if the folder holds a record that cannot be read.
    """
    with interruptions():
        records = run_missing(
            grid(settings.axes, settings.budget),
            executor,
            settings.out,
            threads=threads_of(settings),
            retry_failed=settings.retry_failed,
            tensorboard=settings.tensorboard,
        )
    write_frontier(settings.out, frontiers(records, spread))
    print(as_text(read_csv(settings.out / RESULTS)))
    print("\nIn brackets: 95 % bootstrap intervals of the interquartile mean over seeds.")
    for path in (settings.out / RESULTS, *_report(settings)):
        print(path)
    failed = sum(record.status == "failed" for record in records)
    if failed:
        print(
            f"ablate: {failed} of {len(records)} runs failed, see the error column of "
            f"{settings.out / RESULTS}; --retry-failed runs them again"
            f"{', without --ray on this machine' if settings.ray else ''}",
            file=sys.stderr,
        )
    return 1 if failed else 0


def _report(settings: Settings) -> list[Path]:
    """Make the report, if it is wanted, and return its files."""
    if not settings.report:
        return []
    from studies.reporting.report import make_report

    return make_report(settings.out)


def frontiers(records: list[Record], spread: Spread) -> list[dict[str, Any]]:
    """Return what optimal policies achieve on each solved task, with the task's name.

    Raises:
        CommandFailed: if a task's cannot be computed.
    """
    solved: dict[str, RunSettings] = {
        record.run.task_name: record.run for record in records if "j_ratio" in record.row
    }
    found: dict[str, list[dict[str, float]]] = {name: [] for name in solved}
    with closing(spread(list(solved.values()), find_frontier)) as ended:
        for outcome in ended:
            name = outcome.run.task_name
            if outcome.result is None:
                raise CommandFailed(f"the frontier of {name} cannot be computed: {outcome.error}")
            found[name] = outcome.result
    return [{"task": name, **point} for name, points in found.items() for point in points]
