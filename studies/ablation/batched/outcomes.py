"""How the runs of a grid end that are trained in batches."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from typing import Any

from studies.ablation.batched.plan import kinds_of, plan_batches
from studies.ablation.jobs import find_reason, train_alone, train_batch
from studies.execution.pool import Outcome, Runner
from studies.experiment.grid import RunSettings
from studies.experiment.result import RunResult

# Runs jobs by a runner in several processes, and yields how they end.
Spread = Callable[[Sequence[Any], Runner[Any, Any]], Generator[Outcome[Any, Any], None, None]]


def batched_outcomes(
    runs: Sequence[RunSettings], spread: Spread, jobs: int
) -> Generator[Outcome[RunSettings, RunResult], None, None]:
    """Run everything and yield each run that ends; those of a batch end together.

    The runs of a batch whose worker died are tried again one by one.

    Args:
        runs: what to run.
        spread: over processes.
        jobs: how many of them.
    """
    firsts = [first for first, *others in kinds_of(runs) if others]
    plan = plan_batches(runs, jobs, _reasons(firsts, spread).__getitem__)
    if plan.line:
        print(plan.line, file=sys.stderr)
    lost: list[RunSettings] = []
    with closing(spread(plan.batches, train_batch)) as ended:
        for outcome in ended:
            if outcome.result is None:
                lost += outcome.run.runs
            else:
                yield from outcome.result
    if lost:
        yield from spread(lost, train_alone)


def check_all_batched(runs: Iterable[RunSettings], spread: Spread) -> None:
    """Refuse a grid of which some runs cannot be batched.

    Raises:
        ValueError: with the reason.
    """
    for first, reason in _reasons([first for first, *_ in kinds_of(runs)], spread).items():
        if reason is not None:
            raise ValueError(
                f"batched must be auto or off for this grid, got on, but {first.agent} on "
                f"{first.task_name} is trained alone: {reason}"
            )


def _reasons(firsts: Sequence[RunSettings], spread: Spread) -> dict[RunSettings, str | None]:
    """Return why runs are trained alone, in their order.

    Tasks are made in other processes: one of the user's own may end its process, or last.
    """
    found: dict[RunSettings, str | None] = dict.fromkeys(firsts)
    with closing(spread(firsts, find_reason)) as ended:
        for outcome in ended:
            result = outcome.result
            found[outcome.run] = outcome.error if result is None else result.words
    return found
