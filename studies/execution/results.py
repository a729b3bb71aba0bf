"""The results of many runs: of all of them, or none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing

from tqdm import tqdm

from studies.execution.pool import Job, Result, Runner, outcomes


def all_results(
    runs: Sequence[Job],
    runner: Runner[Job, Result],
    jobs: int,
    name: Callable[[Job], str],
    *,
    unit: str = "run",
    progress: bool = True,
) -> list[Result]:
    """Run everything in several processes, behind a bar, and return what came out.

    Args:
        runs: what to run, each another, picklable.
        runner: what runs one run, picklable by reference.
        jobs: processes.
        name: of a run, for the error.
        unit: what the bar calls a run.
        progress: show the bar.

    Returns:
        The result of each run, in the order of the runs.

    Raises:
        RuntimeError: if a run fails; the others are given up.
    """
    found: dict[Job, Result] = {}
    bar = tqdm(total=len(runs), unit=unit, disable=not progress)
    with bar, closing(outcomes(runs, runner, jobs)) as ended:
        for outcome in ended:
            if outcome.result is None:
                raise RuntimeError(f"{name(outcome.run)} failed: {outcome.error}")
            found[outcome.run] = outcome.result
            bar.update()
    # They end in any order.
    return [found[run] for run in runs]
