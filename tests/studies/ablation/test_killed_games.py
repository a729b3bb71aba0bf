"""A grid on a game that is killed has, when it was started again, the rows of one that was not."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.studies.real_commands import finish, measured, start, wait_for
from tests.studies.toy_grids import contents

RUNS = 4
GRID = [
    *("--agent", "grpo", "--density", "terminal", "process", "--granularity", "token", "turn"),
    *("--gamma", "0.9", "--seeds", "1", "--updates", "4", "--episodes-per-update", "32"),
    *("--set", "discount_unit=turn", "--eval-episodes", "32", "--jobs", "1", "--no-report"),
]


@pytest.mark.slow
@pytest.mark.parametrize("task", ["guess-3", "countdown"])
def test_a_killed_grid_on_a_game_has_the_rows_of_an_undisturbed_one(
    task: str, tmp_path: Path
) -> None:
    words = ["--task", task, *GRID]
    process = start("ablate.py", tmp_path / "killed", *words)
    wait_for(tmp_path / "killed", "runs/*.json", process)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    kept = contents(tmp_path / "killed" / "runs")
    assert 1 <= len(kept) < RUNS
    for name in ("killed", "whole"):
        finish(start("ablate.py", tmp_path / name, *words))
    now = contents(tmp_path / "killed" / "runs")
    assert {path: now[path] for path in kept} == kept
    found, expected = (measured(tmp_path / name) for name in ("killed", "whole"))
    assert len(expected) == RUNS
    assert {row["status"] for row in expected} == {"ok"}
    assert found == expected
