"""What worker processes do for a grid; torch is loaded by them, and not by the command."""

from __future__ import annotations

from dataclasses import dataclass

from studies.ablation.batched.plan import Batch
from studies.execution.pool import Outcome
from studies.experiment.grid import RunSettings
from studies.experiment.result import RunResult

# What the functions below import, all of it.
MODULES = ("studies.ablation.batched.execute", "studies.ablation.batched.reasons")


@dataclass(frozen=True)
class Reason:
    """What keeps a run from being trained with others; None if nothing does."""

    words: str | None


def train_alone(run: RunSettings) -> RunResult:
    """Train and evaluate one agent."""
    from studies.ablation.execute import execute

    return execute(run)


def train_batch(batch: Batch) -> list[Outcome[RunSettings, RunResult]]:
    """Train and evaluate the agents of a batch."""
    from studies.ablation.batched.execute import execute_batch

    return execute_batch(batch)


def find_reason(run: RunSettings) -> Reason:
    """Return what keeps a run from being trained with others."""
    from studies.ablation.batched.reasons import why_alone

    return Reason(why_alone(run))


def find_frontier(run: RunSettings) -> list[dict[str, float]]:
    """Return what optimal policies achieve on the task of a run; nothing where it is not known."""
    from studies.ablation.exact_curve import exact_frontier
    from studies.experiment.build import run_task

    return exact_frontier(run_task(run))
