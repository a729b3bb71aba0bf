"""Grids whose runs train as one: the same rows, curves and records as one by one."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from rlhf_env.task import Task
from rlhf_env.tasks import table_task
from studies.ablation.batched.execute import execute_batch
from studies.ablation.batched.plan import Batch, plan_batches
from studies.ablation.batched.reasons import why_alone
from studies.ablation.execute import execute
from studies.cli.commands.ablate import main
from studies.experiment.axes import Axes
from studies.experiment.grid import Budget, RunSettings, grid
from studies.experiment.task.family import FamilyOptions
from studies.results.folder import RECORDS
from tests.studies.toy_grids import rows

ROOT = Path(__file__).parents[3]
TIMES = {"tokens_per_second"}
GRID = [
    *("--agent", "ppo", "grpo", "--gamma", "0.9", "--density", "terminal", "every_k"),
    *("--granularity", "token", "bandit", "--seeds", "2", "--updates", "3"),
    *("--episodes-per-update", "16", "--eval-episodes", "16", "--no-report", "--jobs", "1"),
]


def runs_of(**axes: Any) -> list[RunSettings]:
    budget = axes.pop("budget", Budget(updates=3, episodes_per_update=16, eval_episodes=16))
    varied = {"gamma": (0.9,), "density": ("terminal", "every_k"), "seeds": 1}
    return grid(Axes(**{**varied, **axes}), budget)


def assert_alike(found: Any, expected: Any) -> None:
    """Compare what JSON can hold, numbers up to rounding."""
    if isinstance(expected, dict):
        assert list(found) == list(expected)
        for name in expected.keys() - TIMES:
            assert_alike(found[name], expected[name])
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_alike(one, other)
    elif isinstance(expected, float):
        assert math.isclose(found, expected, rel_tol=1e-5, abs_tol=1e-6)
    else:
        assert found == expected


@pytest.mark.parametrize("agent", ["ppo", "grpo", "reinforce_value"])
def test_a_batch_finds_what_each_run_finds(agent: str) -> None:
    runs = runs_of(agent=(agent,), kl_coef=(0.1, 0.5))
    for run, outcome in zip(runs, execute_batch(Batch(runs=tuple(runs))), strict=True):
        expected = execute(run)
        assert outcome.run == run
        assert outcome.result is not None
        assert outcome.result.row["j_ratio"] == pytest.approx(expected.row["j_ratio"], abs=1e-9)
        assert_alike(outcome.result.row, expected.row)
        assert_alike(outcome.result.curve, expected.curve)
        assert_alike(outcome.result.samples, expected.samples)


@pytest.mark.parametrize("policy", ["timed_table", "transformer"])
def test_a_batch_on_an_automaton_finds_what_each_run_finds(policy: str) -> None:
    budget = Budget(
        updates=2,
        episodes_per_update=16,
        eval_episodes=16,
        family_options=FamilyOptions(policy=policy),
    )
    axes = {"agent": ("ppo",), "task": ("delay",), "horizon": (6,), "granularity": ("token",)}
    runs = runs_of(budget=budget, **axes)
    for run, outcome in zip(runs, execute_batch(Batch(runs=tuple(runs))), strict=True):
        expected = execute(run)
        assert outcome.result is not None
        assert outcome.result.row["j_ratio"] == pytest.approx(expected.row["j_ratio"], abs=1e-3)
        assert list(outcome.result.curve[-1]) == list(expected.curve[-1])


def two_letters() -> Task:
    """A task of one's own that is a table."""
    return table_task(3, 2, lambda _: [0.0, 0.5, -0.5], lambda tokens: float(len(tokens)))


def test_a_batch_on_a_table_of_ones_own_finds_what_each_run_finds() -> None:
    task = f"{__name__}:{two_letters.__name__}"
    runs = runs_of(agent=("rloo",), task=(task,), granularity=("token",))
    for run, outcome in zip(runs, execute_batch(Batch(runs=tuple(runs))), strict=True):
        assert outcome.result is not None
        assert_alike(outcome.result.row, execute(run).row)


def test_a_batch_that_cannot_be_made_runs_one_by_one() -> None:
    runs = runs_of(agent=("trpo",), granularity=("token",))
    for outcome in execute_batch(Batch(runs=tuple(runs))):
        assert outcome.result is not None
        assert len(outcome.result.curve) == 3


def test_a_run_that_fails_is_an_outcome_with_its_error() -> None:
    budget = Budget(updates=2, episodes_per_update=16, eval_episodes=16, learning_rate=3e37)
    runs = runs_of(agent=("ppo",), granularity=("token",), budget=budget)
    for outcome in execute_batch(Batch(runs=tuple(runs))):
        assert outcome.result is None
        assert "the weights are unchanged" in outcome.error
        assert "Traceback" in outcome.traceback


def test_runs_go_together_by_agent_and_budget() -> None:
    runs = runs_of(agent=("ppo", "grpo", "trpo"), granularity=("token",), seeds=4)
    plan = plan_batches(runs, 2, why_alone)
    assert sorted(len(batch.runs) for batch in plan.batches) == [1] * 8 + [4, 4, 4, 4]
    assert all(len({run.agent for run in batch.runs}) == 1 for batch in plan.batches)
    assert {run for batch in plan.batches for run in batch.runs} == set(runs)
    (reason,) = plan.reasons
    assert "TRPO" in reason
    assert "16 runs train as 4 stacks; 8 one by one" in plan.line
    assert plan_batches(runs[:1], 2, why_alone).line == ""


@pytest.mark.parametrize(
    ("axes", "words"),
    [
        ({"agent": ("dapo",)}, "dynamic_sampling"),
        ({"agent": ("dpo",)}, "comparisons"),
        ({"agent": ("ppo",), "task": ("reviews",)}, "language model"),
        ({"agent": ("tests.studies.own_agents:Uniform",)}, "agents of one's own"),
    ],
)
def test_what_runs_alone_has_a_reason(axes: dict[str, Any], words: str) -> None:
    own = {"granularity": ("token",), "density": ("terminal",)}
    agent = axes.pop("agent")[0]
    template = runs_of(agent=("ppo",), **own, **axes)[0]
    settings = {name: getattr(template, name) for name in vars(template)} | {"agent": agent}
    assert words in (why_alone(RunSettings(**settings)) or "")


def test_on_refuses_what_cannot_be_batched_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*GRID, "--batched", "on", "--out", str(tmp_path / "grid")]
    words[words.index("grpo")] = "trpo"
    assert main(words) == 2
    assert "batched must be auto or off for this grid, got on" in capsys.readouterr().err
    assert not (tmp_path / "grid").exists()


def test_a_batched_grid_has_the_rows_of_one_by_one(tmp_path: Path) -> None:
    found = {}
    for how in ("on", "off"):
        folder = tmp_path / how
        assert main([*GRID, "--batched", how, "--out", str(folder)]) == 0
        found[how] = rows(folder)
    assert [row["run_id"] for row in found["on"]] == [row["run_id"] for row in found["off"]]
    for one, other in zip(found["on"], found["off"], strict=True):
        assert list(one) == list(other)
        assert one["j_ratio"][:9] == other["j_ratio"][:9]
        assert one["status"] == "ok"


@pytest.mark.slow
def test_a_killed_batched_grid_resumes_with_every_finished_row(tmp_path: Path) -> None:
    words = [*GRID, "--seeds", "8", "--updates", "10", "--out", str(tmp_path / "grid")]
    del words[words.index("--seeds") : words.index("--seeds") + 2]
    del words[words.index("--updates") : words.index("--updates") + 2]
    command = [sys.executable, str(ROOT / "scripts/ablate.py"), *words]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, env=env, cwd=ROOT, stderr=subprocess.DEVNULL)
    records = tmp_path / "grid" / RECORDS
    deadline = time.monotonic() + 300
    while len(list(records.glob("*.json"))) < 3 and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = {path: path.read_bytes() for path in records.glob("*.json")}
    assert 3 <= len(kept) < 64
    assert subprocess.run(command, env=env, cwd=ROOT, stdout=subprocess.DEVNULL).returncode == 0
    assert len(list(records.glob("*.json"))) == 64
    assert all(path.read_bytes() == content for path, content in kept.items())
    assert len(rows(tmp_path / "grid")) == 64
    assert {json.loads(content)["status"] for content in kept.values()} == {"ok"}
