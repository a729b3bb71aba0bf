"""The settings of `scripts/ablate.py`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from studies.ablation.jobs import MODULES
from studies.execution.cores import available_cores, threads_per_job
from studies.execution.fork_server import start
from studies.experiment.axes import Axes
from studies.experiment.checks import check_grid, check_jobs
from studies.experiment.grid import Budget


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What to vary, what each run may cost, and where the results go."""

    axes: tyro.conf.OmitArgPrefixes[Axes]
    budget: tyro.conf.OmitArgPrefixes[Budget]
    jobs: int | None = None
    """Runs at the same time, each in its own process (none given: one per core)."""
    threads: int | None = None
    """Threads of each run (none given: OMP_NUM_THREADS, or the cores divided by the jobs)."""
    batched: Literal["auto", "on", "off"] = "auto"
    """Train runs of one kind as one stack of policies, with the results of each run alone: auto
    does so where it can, on refuses a grid where it cannot for all runs, off runs each alone."""
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


def check_settings(settings: Settings) -> None:
    """Refuse a grid that cannot be run.

    Raises:
        ValueError: one sentence with what is wrong, what was given, and what would be right.
    """
    check_grid(settings.axes, settings.budget)
    check_jobs(settings.jobs, settings.threads)


def threads_of(settings: Settings) -> int:
    """Return the threads of each run."""
    if settings.threads is not None or settings.ray:
        return settings.threads or 1
    return threads_per_job(settings.jobs or available_cores())


def start_loading(settings: Settings) -> None:
    """Let what the workers need be loaded."""
    if not settings.ray:
        start(MODULES, threads_of(settings))
