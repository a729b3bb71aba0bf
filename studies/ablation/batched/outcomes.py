"""How the runs of a grid end that are trained in batches."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from studies.ablation.batched.execute import execute_batch
from studies.ablation.batched.plan import kinds_of, plan_batches, why_alone
from studies.ablation.execute import execute
from studies.execution.pool import Outcome, Runner
from studies.experiment.agent_names import is_custom
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
    plan = plan_batches(runs, jobs, _reasons(runs, spread).__getitem__)
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


def _reasons(runs: Sequence[RunSettings], spread: Spread) -> dict[RunSettings, str | None]:
    """Return why the runs of each kind with several are trained alone, by the first of them.

    A task of the user's own is made in another process, where it may end or last.
    """
    firsts = [alike[0] for alike in kinds_of(runs) if len(alike) > 1]
    own = [run for run in firsts if is_custom(run.budget.task)]
    found = {run: why_alone(run) for run in firsts if run not in own}
    if own:
        with closing(spread(own, _answer)) as ended:
            for outcome in ended:
                result = outcome.result
                found[outcome.run] = outcome.error if result is None else result.reason
    return found


@dataclass(frozen=True)
class _Answer:
    """What `why_alone` says, which may be nothing."""

    reason: str | None


def _answer(run: RunSettings) -> _Answer:
    return _Answer(why_alone(run))
