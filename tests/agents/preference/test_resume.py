"""Interrupted runs go on as if nothing had happened; the reference is asked once for all."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from agents import DPO, train
from agents.preference import reference
from agents.training.run_log import read_metrics
from tests.agents.episodes import make_envs
from tests.agents.preference.preference_runs import RAGGED, make_agent
from tests.agents.runs import assert_equal, weights, without_time
from tests.toys import tiny_llama_task

OPTIONS: dict[str, dict[str, Any]] = {
    "offline": {"episodes_per_update": 6, "minibatches": 3, "epochs": 2, "held_out": RAGGED[:3]},
    "soft": {"preferences": None, "episodes_per_update": 8},
    "sampled": {"preferences": None, "labels": "sampled", "episodes_per_update": 8},
    "list": {"preferences": None, "loss": "lipo", "group_size": 4, "episodes_per_update": 8},
}


@pytest.mark.parametrize("kind", list(OPTIONS))
@pytest.mark.parametrize("stop", [1, 4])
def test_a_resumed_run_is_the_uninterrupted_run(kind: str, stop: int, tmp_path: Path) -> None:
    whole, part, resumed = (make_agent(**OPTIONS[kind]) for _ in range(3))
    size = whole.episodes_per_update
    whole.learn(6 * size, log_dir=tmp_path / "whole", progress=False)
    part.learn(stop * size, log_dir=tmp_path / "parts", progress=False)
    resumed.learn(6 * size, log_dir=tmp_path / "parts", progress=False)
    runs = [read_metrics(tmp_path / name / "metrics.jsonl") for name in ("whole", "parts")]
    assert len(runs[0]) == 6
    assert without_time(runs[0]) == without_time(runs[1])
    assert_equal(weights(whole), weights(resumed))


PROGRAM = (
    "import sys, torch; torch.set_num_threads(1)\n"
    "from tests.agents.preference.preference_runs import make_agent\n"
    "from tests.agents.preference.test_resume import OPTIONS\n"
    "from agents import train\n"
    "agent = make_agent(**OPTIONS[sys.argv[1]])\n"
    "train(agent, agent.envs, 6 * agent.episodes_per_update, log_dir=sys.argv[2],\n"
    "      checkpoint_every=1, progress=False,\n"
    "      callback=lambda agent, metrics: print(metrics['update'], flush=True))\n"
)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["offline", "sampled"])
@pytest.mark.parametrize("delay", [0.0, 0.02, 0.05, 0.1])
def test_kill_at_any_moment_and_resume(kind: str, delay: float, tmp_path: Path) -> None:
    whole, resumed = make_agent(**OPTIONS[kind]), make_agent(**OPTIONS[kind])
    episodes = 6 * whole.episodes_per_update
    whole.learn(episodes, log_dir=tmp_path / "whole", progress=False)
    command = [sys.executable, "-c", PROGRAM, kind, str(tmp_path / "killed")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    threading.Event().wait(delay)
    process.kill()
    process.communicate(timeout=60)
    resumed.learn(episodes, log_dir=tmp_path / "killed", progress=False)
    runs = [read_metrics(tmp_path / name / "metrics.jsonl") for name in ("whole", "killed")]
    assert without_time(runs[0]) == without_time(runs[1])
    assert_equal(weights(whole), weights(resumed))


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that grows by one with every pass of the reference over the data."""
    found: list[int] = []
    computed = reference._computed

    def counted(*arguments: Any) -> torch.Tensor:
        found.append(1)
        return computed(*arguments)

    monkeypatch.setattr(reference, "_computed", counted)
    return found


def test_the_reference_is_asked_once(passes: list[int], tmp_path: Path) -> None:
    make_agent().learn(passes=2, log_dir=tmp_path, progress=False)
    make_agent().learn(passes=4, log_dir=tmp_path, progress=False)
    assert len(passes) == 1
    kept = tmp_path / "reference.safetensors"
    make_agent(reference_file=kept).collect()
    assert len(passes) == 1


@pytest.mark.parametrize(
    "settings", [{"temperature": 0.7}, {"preferences": RAGGED[1:]}, {"seed": 1}]
)
def test_what_is_kept_is_of_one_model_temperature_and_data(
    settings: dict[str, Any], passes: list[int], tmp_path: Path
) -> None:
    kept = tmp_path / "kept.safetensors"
    make_agent(reference_file=kept).collect()
    task = tiny_llama_task(seed=settings.pop("seed", 0))
    other = make_agent(task=task, reference_file=kept, **settings)
    assert torch.equal(other.collect().ref_logprobs, other.collect().ref_logprobs)
    assert len(passes) == 2
    fresh = make_agent(task=task, **settings)
    assert torch.equal(other.collect().ref_logprobs, fresh.collect().ref_logprobs)


def test_a_damaged_file_is_replaced(passes: list[int], tmp_path: Path) -> None:
    kept = tmp_path / "kept.safetensors"
    kept.write_bytes(b"no tensors")
    first = make_agent(reference_file=kept).collect()
    assert len(passes) == 1
    assert torch.equal(make_agent(reference_file=kept).collect().logprobs, first.logprobs)
    assert len(passes) == 1


def test_labels_are_drawn_from_a_stream_of_their_own() -> None:
    """Other labels see the same responses."""
    envs = make_envs(tiny_llama_task())
    soft, sampled = (DPO(envs, labels=rule, episodes_per_update=8) for rule in ("soft", "sampled"))
    assert torch.equal(soft.collect().tokens, sampled.collect().tokens)
    drawn = sampled.collect().preference
    assert torch.equal(drawn, sampled.collect().preference)
    train(sampled, envs, 8, progress=False)
    assert not torch.equal(drawn, sampled.collect().preference)
