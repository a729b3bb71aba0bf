"""Grids on a real local Ray cluster; needs the package ray, which `make test-all` installs."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("ray")
ROOT = Path(__file__).parents[3]
RAY = Path(sys.executable).with_name("ray")
GRID = ["--task", "toy15", "--agent", "ppo", "grpo", "--gamma", "1.0", "--density", "terminal"]
GRID += ["--granularity", "token", "--updates", "3", "--no-report", "--no-tensorboard"]
KILLED = """
import os, signal
from agents import PPO
class Killed(PPO):
    def update(self, rollout):
        if self.config.seed == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().update(rollout)
"""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


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


def test_a_killed_worker_costs_its_own_run_only(cluster: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "killed_agent.py").write_text(KILLED)
    paths = cluster | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path)])}
    given = ["--task", "toy15", "--agent", "killed_agent:Killed", "--seeds", "3", *GRID[5:]]
    status, error = ablate(tmp_path / "out", paths, *given, "--ray")
    found = {row["seed"]: row["status"] for row in rows(tmp_path / "out").values()}
    assert (status, found) == (1, {"0": "ok", "1": "failed", "2": "ok"}), error
