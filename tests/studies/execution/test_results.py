"""The results of many runs: in their order, or the first that failed by name."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from studies.execution import results
from studies.execution.pool import Outcome, Runner, attempt


def backwards(runs: list[int], runner: Runner, jobs: int) -> Iterator[Outcome]:
    """Stand in for the pool: the last run ends first."""
    return (attempt(runner, run) for run in reversed(runs))


def test_results_are_in_the_order_of_the_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "outcomes", backwards)
    found = results.all_results([3, 1, 2], lambda run: 10 * run, 2, str, progress=False)
    assert found == [30, 10, 20]


def test_a_run_that_fails_is_named_and_the_others_are_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun: list[int] = []

    def halved(run: int) -> float:
        begun.append(run)
        return 1 / run

    monkeypatch.setattr(results, "outcomes", backwards)
    with pytest.raises(RuntimeError, match="run 0 failed: ZeroDivisionError"):
        results.all_results([5, 0, 2], halved, 1, lambda run: f"run {run}", progress=False)
    assert begun == [2, 0]
