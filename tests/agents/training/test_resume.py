"""Interrupted runs go on as if nothing had happened."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from agents import GRPO, PPO, Agent, train
from agents.training.run_log import read_metrics
from tests.agents.runs import assert_equal, make_agent, weights, without_time


@pytest.mark.parametrize("kind", [PPO, GRPO])
@pytest.mark.parametrize("stop", [1, 3, 5])
def test_a_resumed_run_is_the_uninterrupted_run(
    kind: type[Agent], stop: int, tmp_path: Path
) -> None:
    whole = make_agent(kind)
    whole.learn(48, log_dir=tmp_path / "whole", progress=False)
    make_agent(kind).learn(8 * stop, log_dir=tmp_path / "parts", progress=False)
    resumed = make_agent(kind)
    resumed.learn(48, log_dir=tmp_path / "parts", progress=False)
    runs = [read_metrics(tmp_path / name / "metrics.jsonl") for name in ("whole", "parts")]
    assert len(runs[0]) == 6
    assert without_time(runs[0]) == without_time(runs[1])
    assert_equal(weights(whole), weights(resumed))


def test_a_run_goes_on_in_another_process(tmp_path: Path) -> None:
    whole = make_agent()
    whole.learn(48, log_dir=tmp_path / "whole", progress=False)
    make_agent().learn(24, log_dir=tmp_path / "parts", progress=False)
    run_elsewhere(tmp_path / "parts")
    runs = [read_metrics(tmp_path / name / "metrics.jsonl") for name in ("whole", "parts")]
    assert without_time(runs[0]) == without_time(runs[1])
    resumed = make_agent()
    assert resumed.learn(48, log_dir=tmp_path / "parts", progress=False) == []
    assert_equal(weights(whole), weights(resumed))


PROGRAM = (
    "import sys, torch; torch.set_num_threads(1)\n"
    "from tests.agents.runs import make_agent\n"
    "from agents import train\n"
    "agent = make_agent()\n"
    "train(agent, agent.envs, 48, log_dir=sys.argv[1], checkpoint_every=1, progress=False,\n"
    "      callback=lambda agent, metrics: print(metrics['update'], flush=True))\n"
)


def start_elsewhere(folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PROGRAM, str(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def run_elsewhere(folder: Path) -> None:
    process = start_elsewhere(folder)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors


@pytest.mark.slow
@pytest.mark.parametrize("delay", [0.0, 0.01, 0.02, 0.03, 0.04, 0.06, 0.08, 0.12, 0.16, 0.2])
def test_kill_at_any_moment_and_resume(delay: float, tmp_path: Path) -> None:
    whole = make_agent()
    whole.learn(48, log_dir=tmp_path / "whole", progress=False)
    process = start_elsewhere(tmp_path / "killed")
    assert process.stdout is not None
    process.stdout.readline()
    threading.Event().wait(delay)
    process.kill()
    process.communicate(timeout=60)
    resumed = make_agent()
    resumed.learn(48, log_dir=tmp_path / "killed", progress=False)
    runs = [read_metrics(tmp_path / name / "metrics.jsonl") for name in ("whole", "killed")]
    assert without_time(runs[0]) == without_time(runs[1])
    assert_equal(weights(whole), weights(resumed))


def test_learning_goes_on_in_memory() -> None:
    agent = make_agent()
    first = agent.learn(16, progress=False)
    second = agent.learn(48, progress=False)
    assert [row["update"] for row in first + second] == [1, 2, 3, 4, 5, 6]
    assert without_time(first + second) == without_time(make_agent().learn(48, progress=False))


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(tmp_path: Path) -> None:
    agent = make_agent()
    train(agent, agent.envs, 24, log_dir=tmp_path, checkpoint_every=1, progress=False)
    newest = tmp_path / "checkpoints" / "update-00000003"
    (newest / "state.json").write_text("{}")
    (tmp_path / "checkpoints" / ".update-00000004.partial-1").mkdir()
    resumed = make_agent()
    with pytest.warns(UserWarning, match="is passed over: the checksum of state.json differs"):
        resumed.learn(32, log_dir=tmp_path, progress=False)
    expected = make_agent()
    expected.learn(32, progress=False)
    assert_equal(weights(resumed), weights(expected))
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == [
        "update-00000003",
        "update-00000004",
    ]


def interrupt_at(update: int) -> Any:
    def callback(agent: Agent, metrics: dict[str, float]) -> None:
        if metrics["update"] == update:
            os.kill(os.getpid(), signal.SIGINT)

    return callback


def test_the_first_interrupt_saves_what_is_done(tmp_path: Path) -> None:
    whole = make_agent()
    expected = without_time(whole.learn(48, progress=False))
    with pytest.raises(KeyboardInterrupt):
        make_agent().learn(48, log_dir=tmp_path, progress=False, callback=interrupt_at(2))
    assert [row["update"] for row in read_metrics(tmp_path / "metrics.jsonl")] == [1, 2]
    assert (tmp_path / "checkpoints" / "update-00000002").is_dir()
    resumed = make_agent()
    resumed.learn(48, log_dir=tmp_path, progress=False)
    assert without_time(read_metrics(tmp_path / "metrics.jsonl")) == expected
    assert_equal(weights(whole), weights(resumed))


def test_the_second_interrupt_does_not_wait(tmp_path: Path) -> None:
    agent = make_agent()

    def twice(agent: Agent, metrics: dict[str, float]) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("the second one interrupts at once")

    with pytest.raises(KeyboardInterrupt):
        agent.learn(48, log_dir=tmp_path, progress=False, callback=twice)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_error_leaves_the_log_readable(tmp_path: Path) -> None:
    def fail(agent: Agent, metrics: dict[str, float]) -> None:
        if metrics["update"] == 3:
            raise RuntimeError("the reader's own fault")

    with pytest.raises(RuntimeError, match="the reader's own fault"):
        make_agent().learn(48, log_dir=tmp_path, progress=False, callback=fail)
    assert len(read_metrics(tmp_path / "metrics.jsonl")) == 3
    make_agent().learn(48, log_dir=tmp_path, progress=False)
    assert len(read_metrics(tmp_path / "metrics.jsonl")) == 6
