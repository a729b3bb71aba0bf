"""How the runs of a grid end that are trained in batches."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from typing import Any

from studies.ablation.batched.execute import execute_batch
from studies.ablation.batched.plan import plan_batches
from studies.ablation.execute import execute
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
    plan = plan_batches(runs, jobs)
    if runs:
        print(plan.line, file=sys.stderr)
    lost: list[RunSettings] = []
    with closing(spread(plan.batches, execute_batch)) as ended:
        for outcome in ended:
            if outcome.result is None:
                lost += outcome.run.runs
            else:
                yield from outcome.result
    if lost:
        yield from spread(lost, execute)
