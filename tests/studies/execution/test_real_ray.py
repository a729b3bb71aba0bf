"""Grids and rollout workers on a real local Ray cluster; needs the package ray."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.studies.training.test_several_processes import OWN_AGENT

pytest.importorskip("ray")
ROOT = Path(__file__).parents[3]
RAY = Path(sys.executable).with_name("ray")
GRID = ["--task", "toy15", "--agent", "ppo", "grpo", "--gamma", "1.0", "--density", "terminal"]
GRID += ["--granularity", "token", "--updates", "3", "--no-report", "--no-tensorboard"]
GRID += ["--batched", "off"]
KILLED = """
import os, pathlib, signal
from agents import PPO
class Killed(PPO):
    # Seed 1 is killed whenever it runs, seed 2 the first time only.
    def update(self, rollout):
        mark = pathlib.Path(__file__).with_name("was_killed")
        if self.config.seed == 1 or (self.config.seed == 2 and not mark.exists()):
            if self.config.seed == 2:
                mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().update(rollout)
"""
TRAIN = ["--task", "toy15", "--agent", "grpo", "--group-size", "5", "--episodes-per-update", "15"]
TRAIN += ["--samples", "1", "--eval-episodes", "20"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[dict[str, str]]:
    """A cluster of two cores; the environment of commands that are to find it and this project."""
    environment = os.environ | {"RAY_ADDRESS": "auto", "PYTHONPATH": str(ROOT)}
    start = [str(RAY), "start", "--head", "--num-cpus", "2", "--include-dashboard", "false"]
    subprocess.run(
        [*start, "--disable-usage-stats", "--port", "0"],
        env=environment,
        check=True,
        capture_output=True,
    )
    yield environment
    subprocess.run([str(RAY), "stop", "--force"], check=True, capture_output=True)


def ablate(folder: Path, environment: dict[str, str], *more: str) -> tuple[int, str]:
    command = [sys.executable, str(ROOT / "scripts" / "ablate.py"), *more, "--out", str(folder)]
    done = subprocess.run(
        command, env=environment, cwd=folder.parent, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stderr


def rows(folder: Path) -> dict[str, dict[str, str]]:
    """The results by run, without what depends on time and place."""
    with (folder / "results.csv").open(encoding="utf-8") as file:
        found = {row["run_id"]: row for row in csv.DictReader(file)}
    varying = ("seconds", "command", "tokens_per_second")
    return {k: {n: v for n, v in row.items() if n not in varying} for k, row in found.items()}


def test_the_same_rows_with_and_without_ray(cluster: dict[str, str], tmp_path: Path) -> None:
    given = [*GRID, "--seeds", "2", "--threads", "1"]
    assert ablate(tmp_path / "alone", cluster, *given)[0] == 0
    status, error = ablate(tmp_path / "cluster", cluster, *given, "--ray")
    assert status == 0, error
    assert len(rows(tmp_path / "alone")) == 4
    assert rows(tmp_path / "cluster") == rows(tmp_path / "alone")


def test_a_killed_worker_costs_its_own_run_only_which_is_repeated(
    cluster: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "killed_agent.py").write_text(KILLED)
    paths = cluster | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path)])}
    given = ["--task", "toy15", "--agent", "killed_agent:Killed", "--seeds", "3", *GRID[5:]]
    status, error = ablate(tmp_path / "out", paths, *given, "--ray")
    found = {row["seed"]: row["status"] for row in rows(tmp_path / "out").values()}
    assert (status, found) == (1, {"0": "ok", "1": "failed", "2": "ok"}), error
    assert (tmp_path / "was_killed").exists()


def train_command(folder: Path, updates: int, *more: str) -> list[str]:
    words = [*TRAIN, "--episodes", str(15 * updates), "--out", str(folder), *more]
    return [sys.executable, str(ROOT / "scripts" / "train.py"), *words]


def metrics(folder: Path) -> list[dict[str, float]]:
    found = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k != "tokens_per_second"} for row in found]


def assert_same_run(folder: Path, other: Path) -> None:
    ours, theirs = metrics(folder), metrics(other)
    assert len(ours) == len(theirs) > 0
    for a, b in zip(ours, theirs, strict=True):
        assert a == pytest.approx(b, rel=1e-5, abs=1e-5)


def test_rollout_workers_make_the_episodes_of_one_process_even_if_one_is_killed(
    cluster: dict[str, str], tmp_path: Path
) -> None:
    process = subprocess.Popen(
        train_command(tmp_path / "cluster", 300, "--ray-workers", "2"),
        env=cluster,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not list(tmp_path.glob("cluster/checkpoints/update-*")):
        assert process.poll() is None, process.communicate()[1][-3000:]
        time.sleep(0.1)
    workers = [p for p in psutil.process_iter(["cmdline"]) if is_rollout_worker(p)]
    assert len(workers) == 2
    workers[0].kill()
    _, error = process.communicate()
    assert process.returncode == 0, error[-3000:]
    subprocess.run(train_command(tmp_path / "alone", 300), env=cluster, check=True)
    assert_same_run(tmp_path / "cluster", tmp_path / "alone")


def is_rollout_worker(process: psutil.Process) -> bool:
    return "RolloutWorker" in " ".join(process.info["cmdline"] or [])


def test_workers_are_refused_where_they_cannot_work(
    cluster: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "own_agent.py").write_text(OWN_AGENT)
    paths = cluster | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path)])}
    command = train_command(tmp_path / "out", 1, "--ray-workers", "1")
    command[command.index("grpo")] = "own_agent:Own"
    at = command.index("--group-size")
    done = subprocess.run(
        [*command[:at], *command[at + 2 :]], env=paths, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "--ray-workers decodes the responses of an agents.Agent on a cluster" in done.stderr
    assert not (tmp_path / "out" / "metrics.jsonl").exists()


def test_a_cluster_that_goes_away_leaves_folders_that_resume(
    cluster: dict[str, str], tmp_path: Path
) -> None:
    """The last test here: it takes the cluster away."""
    # Long enough to be cut short.
    asked = ["200" if word == "3" else word for word in GRID]
    asked += ["--seeds", "12", "--threads", "1"]
    grid = [*asked, "--out", str(tmp_path / "grid")]
    started = [
        subprocess.Popen(
            command,
            env=cluster,
            cwd=tmp_path,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for command in (
            [sys.executable, str(ROOT / "scripts" / "ablate.py"), *grid, "--ray", "--jobs", "1"],
            train_command(tmp_path / "run", 100_000, "--ray-workers", "1"),
        )
    ]
    signs = ("grid/runs/*.json", "run/checkpoints/update-*")
    while not all(list(tmp_path.glob(sign)) for sign in signs):
        for process in started:
            assert process.poll() is None, process.communicate()[1][-3000:]
        time.sleep(0.1)
    subprocess.run([str(RAY), "stop", "--force"], check=True, capture_output=True)
    for process, option in zip(started, ("--ray", "--ray-workers"), strict=True):
        _, error = process.communicate(timeout=120)
        assert process.returncode == 1, error[-3000:]
        said = error.count(f"{option}: the Ray cluster no longer answers; what")
        # Where the store that weights are written to goes away, Ray may end the process itself,
        # with the same status, before Python can say anything.
        assert said == 1 or (said == 0 and option == "--ray-workers"), error[-3000:]
    finished = {path.name: path.read_bytes() for path in tmp_path.glob("grid/runs/*.json")}
    assert 0 < len(finished) < 24
    assert ablate(tmp_path / "grid", cluster, *asked)[0] == 0
    assert len(rows(tmp_path / "grid")) == 24
    assert all((tmp_path / "grid" / "runs" / n).read_bytes() == old for n, old in finished.items())
    done = len(metrics(tmp_path / "run"))
    subprocess.run(train_command(tmp_path / "run", done + 2), env=cluster, check=True)
    assert len(metrics(tmp_path / "run")) == done + 2
