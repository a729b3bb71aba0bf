"""`scripts/train.py` under a launcher: results, resuming, signals, and processes that die."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.agents.processes.launching import ROOT, environment, near, run, torchrun

pytest.importorskip("accelerate")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

TRAIN = ROOT / "scripts" / "train.py"
GRID = ROOT / "scripts" / "ablate.py"
PER_UPDATE = 15
# Groups of five are cut in any number of processes.
SETTINGS = ["--task", "toy15", "--agent", "grpo", "--group-size", "5", "--eval-episodes", "20"]
SETTINGS += ["--episodes-per-update", str(PER_UPDATE), "--samples", "1"]
LOST = "train: another process of this run has died or stopped answering"
OWN_AGENT = """
import numpy as np
class Own:
    def __init__(self, envs, gamma=1.0, seed=0):
        self.envs = envs
    def act(self, observation):
        count = len(observation["input_ids"])
        return np.zeros(count, dtype=int), np.full(count, -1.0)
    def update(self, rollout):
        return {}
"""


def command(processes: int, folder: Path, updates: int, *more: str) -> list[str]:
    words = [str(TRAIN), *SETTINGS, "--episodes", str(updates * PER_UPDATE), "--out", str(folder)]
    words += more
    return [sys.executable, *words] if processes == 1 else torchrun(processes, *words)


def train(processes: int, folder: Path, updates: int, *more: str) -> str:
    """Train, and return what was said on stderr."""
    done = run(command(processes, folder, updates, *more))
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stderr


def rows(folder: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k != "tokens_per_second"} for row in found]


def assert_same_run(one: Path, other: Path) -> None:
    ours, theirs = rows(one), rows(other)
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert a.keys() == b.keys()
        assert all(near(a[name], b[name]) for name in a), (a, b)
    after = [json.loads((at / "evaluation.json").read_text())["after"] for at in (one, other)]
    assert all(near(after[0][name], after[1][name]) for name in after[0])


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("alone") / "out"
    train(1, folder, 36)
    return folder


def begin(folder: Path) -> subprocess.Popen[str]:
    """Start a long run in two processes, and return when it has saved a checkpoint."""
    process = subprocess.Popen(
        command(2, folder, 100_000),
        env=environment(),
        cwd=ROOT,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    while not list(folder.glob("checkpoints/update-*")):
        assert process.poll() is None, process.communicate()[1][-3000:]
        time.sleep(0.1)
    return process


def saved(folder: Path) -> int:
    return max(
        int(path.name.removeprefix("update-")) for path in folder.glob("checkpoints/update-*")
    )


def test_a_run_goes_on_under_any_number_of_processes(alone: Path, tmp_path: Path) -> None:
    for processes, updates in ((2, 12), (1, 24), (2, 36)):
        train(processes, tmp_path / "out", updates)
    assert_same_run(alone, tmp_path / "out")


def test_old_episodes_are_the_same_in_any_number_of_processes(tmp_path: Path) -> None:
    more = ["--importance", "sequence", "--replay-ratio", "2", "--replay-capacity", "60"]
    train(1, tmp_path / "alone", 12, *more)
    for processes, updates in ((2, 5), (1, 8), (2, 12)):
        train(processes, tmp_path / "out", updates, *more)
    assert_same_run(tmp_path / "alone", tmp_path / "out")
    assert rows(tmp_path / "out")[-1]["replay_size"] == 60


def test_accelerate_launches_it_too(alone: Path, tmp_path: Path) -> None:
    launch = [str(Path(sys.executable).with_name("accelerate")), "launch", "--num_processes", "2"]
    words = [*launch, "--main_process_port", "0", *command(1, tmp_path / "out", 36)[1:]]
    refused = run(words)
    # Without a GPU accelerate starts one process, however many it is asked for.
    assert refused.returncode != 0
    assert "add --multi_gpu, which is for CPUs too, or use torchrun" in refused.stderr
    done = run([*words[:2], "--multi_gpu", *words[2:]])
    assert done.returncode == 0, done.stderr[-3000:]
    assert_same_run(alone, tmp_path / "out")


@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_is_killed_ends_the_run_and_the_last_checkpoint_resumes(
    tmp_path: Path, rank: int
) -> None:
    process = begin(tmp_path / "out")
    workers = psutil.Process(process.pid).children()
    chosen = next(w for w in workers if w.environ()["RANK"] == str(rank))
    chosen.kill()
    _, said = process.communicate(timeout=120)
    assert process.returncode != 0
    assert said.count(LOST) == 1, said[-3000:]
    done = saved(tmp_path / "out")
    train(1, tmp_path / "out", done + 3)
    train(1, tmp_path / "whole", done + 3)
    assert_same_run(tmp_path / "whole", tmp_path / "out")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("is_launcher", [True, False])
def test_a_signal_to_one_stops_all_after_the_same_update(
    tmp_path: Path, number: signal.Signals, is_launcher: bool
) -> None:
    process = begin(tmp_path / "out")
    workers = psutil.Process(process.pid).children()
    os.kill(process.pid if is_launcher else workers[1].pid, number)
    _, said = process.communicate(timeout=120)
    assert process.returncode != 0
    assert said.count("train: interrupted; what is saved is kept") == 1, said[-3000:]
    assert len(rows(tmp_path / "out")) == saved(tmp_path / "out")


def test_what_several_processes_cannot_do_is_refused_once_and_by_name(tmp_path: Path) -> None:
    (tmp_path / "own_agent.py").write_text(OWN_AGENT)
    paths = environment() | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path)])}
    words = ["--task", "toy15", "--agent", "own_agent:Own", "--out", str(tmp_path / "out")]
    grid = ["--task", "toy15", "--agent", "ppo", "--out", str(tmp_path / "grid")]
    for script, asked, sentence in (
        (TRAIN, words, "train: --agent must be an agents.Agent to learn in 2 processes"),
        (GRID, grid, "ablate: ablate works in one process, got 2"),
    ):
        done = subprocess.run(
            torchrun(2, script, *asked),
            env=paths,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode != 0
        assert done.stderr.count(sentence) == 1, done.stderr[-3000:]
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "grid").exists()
