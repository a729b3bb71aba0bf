"""Training on a game that is killed ends with the weights of a run that was not."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from agents.training.run_log import read_metrics
from tests.agents.runs import without_time
from tests.studies.real_commands import finish, start, wait_for

UPDATES = 40


@pytest.mark.slow
def test_killed_training_on_guess_has_the_weights_of_an_undisturbed_run(tmp_path: Path) -> None:
    words = [
        *("--task", "guess-3", "--agent", "grpo", "--group-size", "8", "--granularity", "turn"),
        *("--density", "process", "--gamma", "0.9", "--eval-episodes", "16", "--samples", "1"),
        *("--episodes", str(32 * UPDATES), "--episodes-per-update", "32"),
    ]
    process = start("train.py", tmp_path / "killed", *words)
    wait_for(tmp_path / "killed", "checkpoints/update-*", process)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "killed" / "checkpoints" / f"update-{UPDATES:08}").exists()
    for name in ("killed", "whole"):
        finish(start("train.py", tmp_path / name, *words))
    runs = [read_metrics(tmp_path / name / "metrics.jsonl") for name in ("killed", "whole")]
    assert len(runs[1]) == UPDATES
    assert without_time(runs[0]) == without_time(runs[1])
    last = [
        tmp_path / name / "checkpoints" / f"update-{UPDATES:08}" for name in ("killed", "whole")
    ]
    weights = sorted(path.name for path in last[1].glob("*.safetensors"))
    assert weights
    for name in weights:
        assert (last[0] / name).read_bytes() == (last[1] / name).read_bytes()
