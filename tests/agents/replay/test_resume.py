"""The buffer in checkpoints: runs go on bit by bit, and damage is refused by name."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
import torch

from agents import GRPO, Agent, Replay
from agents.replay.rows import fields_of
from agents.training.run_log import read_metrics
from tests.agents.runs import assert_equal, weights, without_time

EPISODES = 64


def make_agent(replay: Replay | None = None, **settings: Any) -> Agent:
    """Return an agent whose buffer is full after 3 of 8 updates."""
    old = replay or Replay(capacity=24, ratio=1.5, priority="recent", max_age=5)
    envs = gym.make_vec("RLHF-v0", num_envs=4, task="toy15")
    chosen = {"episodes_per_update": 8, "group_size": 4, "minibatches": 2, **settings}
    return GRPO(envs, replay=old, importance="sequence", learning_rate=0.05, **chosen)


def assert_same_run(one: tuple[Agent, Path], other: tuple[Agent, Path]) -> None:
    rows = [without_time(read_metrics(folder / "metrics.jsonl")) for _, folder in (one, other)]
    assert len(rows[0]) == 8
    assert rows[0] == rows[1]
    assert_equal(weights(one[0]), weights(other[0]))
    assert one[0].replay and other[0].replay
    stored = [agent.replay.episodes for agent, _ in (one, other) if agent.replay]
    assert stored[0] is not None and stored[1] is not None
    left, right = fields_of(stored[0]), fields_of(stored[1])
    assert left.keys() == right.keys()
    assert all(torch.equal(left[name], right[name]) for name in left)
    assert torch.equal(one[0].replay.born, other[0].replay.born)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Agent, Path]:
    """A run that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    agent = make_agent()
    agent.learn(EPISODES, log_dir=folder, progress=False)
    return agent, folder


@pytest.mark.parametrize("stop", [1, 5])
def test_a_resumed_run_is_the_uninterrupted_run(
    whole: tuple[Agent, Path], stop: int, tmp_path: Path
) -> None:
    make_agent().learn(8 * stop, log_dir=tmp_path, progress=False)
    resumed = make_agent()
    resumed.learn(EPISODES, log_dir=tmp_path, progress=False)
    assert_same_run(whole, (resumed, tmp_path))


PROGRAM = (
    "import sys, torch; torch.set_num_threads(1)\n"
    "from tests.agents.replay.test_resume import make_agent\n"
    "from agents import train\n"
    "agent = make_agent()\n"
    "train(agent, agent.envs, 64, log_dir=sys.argv[1], checkpoint_every=1, progress=False,\n"
    "      callback=lambda agent, metrics: print(metrics['update'], flush=True))\n"
)


def test_a_killed_run_is_the_uninterrupted_run(whole: tuple[Agent, Path], tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for _ in range(5):
        process.stdout.readline()
    process.kill()
    process.communicate(timeout=60)
    assert len(read_metrics(tmp_path / "metrics.jsonl")) >= 5
    resumed = make_agent()
    resumed.learn(EPISODES, log_dir=tmp_path, progress=False)
    assert_same_run(whole, (resumed, tmp_path))


@pytest.fixture
def saved(whole: tuple[Agent, Path], tmp_path: Path) -> Path:
    """The last checkpoint of a run, which may be damaged."""
    return Path(shutil.copytree(whole[1] / "checkpoints" / "update-00000008", tmp_path / "copy"))


def test_a_flipped_bit_is_refused_by_name(saved: Path) -> None:
    path = saved / "replay.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    check_refused(saved, "the checksum of replay.safetensors differs")


def test_a_cut_off_file_is_refused_by_name(saved: Path) -> None:
    path = saved / "replay.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    check_refused(saved, "the checksum of replay.safetensors differs")


def test_a_missing_file_is_refused_by_name(saved: Path) -> None:
    (saved / "replay.safetensors").unlink()
    check_refused(saved, "replay.safetensors is missing")


def test_a_file_that_the_manifest_does_not_know_is_refused_by_name(saved: Path) -> None:
    manifest = json.loads((saved / "manifest.json").read_text())
    del manifest["files"]["replay.safetensors"]
    (saved / "manifest.json").write_text(json.dumps(manifest))
    (saved / "replay.safetensors").unlink()
    check_refused(saved, "replay.safetensors is unreadable")


def check_refused(saved: Path, flaw: str) -> None:
    """Check that a damaged checkpoint leaves weights and buffer as they are."""
    agent = make_agent()
    before = weights(agent)
    with pytest.raises(ValueError, match=f"is damaged: {flaw}; use an earlier one$"):
        agent.restore(saved)
    assert_equal(before, weights(agent))
    assert agent.replay is not None
    assert len(agent.replay) == 0


def test_a_run_passes_over_a_damaged_buffer(whole: tuple[Agent, Path], tmp_path: Path) -> None:
    make_agent().learn(24, log_dir=tmp_path, progress=False)
    make_agent().learn(48, log_dir=tmp_path, progress=False)
    path = tmp_path / "checkpoints" / "update-00000006" / "replay.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    resumed = make_agent()
    with pytest.warns(UserWarning, match=r"passed over: the checksum of replay\.safetensors"):
        resumed.learn(EPISODES, log_dir=tmp_path, progress=False)
    assert_same_run(whole, (resumed, tmp_path))


@pytest.mark.parametrize(
    ("replay", "sentence"),
    [
        (Replay(capacity=32, ratio=1.5, priority="recent", max_age=5), "capacity = 24, got 32"),
        (Replay(capacity=24, ratio=math.inf, priority="recent", max_age=5), "1.5, got 'inf'"),
    ],
)
def test_another_buffer_is_refused(saved: Path, replay: Replay, sentence: str) -> None:
    with pytest.raises(ValueError, match=f"was made with a replay of .*{sentence}; use the same"):
        make_agent(replay).restore(saved)


def test_an_agent_without_a_buffer_refuses_one(saved: Path, tmp_path: Path) -> None:
    plain = make_agent()
    plain.replay = None
    with pytest.raises(ValueError, match="was made with a replay, got an agent with none"):
        plain.restore(saved)
    plain.save(tmp_path / "plain")
    with pytest.raises(ValueError, match="was made with no replay, got an agent with one"):
        make_agent().restore(tmp_path / "plain")


def test_loading_makes_the_buffer_that_was_saved(whole: tuple[Agent, Path], saved: Path) -> None:
    loaded = GRPO.load(saved, whole[0].envs)
    assert loaded.replay is not None and whole[0].replay is not None
    assert loaded.replay.settings == whole[0].replay.settings
    assert torch.equal(loaded.replay.born, whole[0].replay.born)
    assert len(loaded.replay) == 24


def test_an_empty_buffer_and_an_offline_one_are_saved_too(tmp_path: Path) -> None:
    agent = make_agent(Replay(capacity=8, ratio=math.inf))
    agent.save(tmp_path / "saved")
    loaded = GRPO.load(tmp_path / "saved", agent.envs)
    assert loaded.replay is not None
    assert loaded.replay.is_offline
    assert len(loaded.replay) == 0
    assert "replay.safetensors" in (tmp_path / "saved" / "README.md").read_text()
    json.loads((tmp_path / "saved" / "state.json").read_text(), parse_constant=pytest.fail)


def test_an_offline_run_goes_on_with_the_episodes_of_its_checkpoint(
    whole: tuple[Agent, Path], tmp_path: Path
) -> None:
    def offline(*, is_filled: bool) -> Agent:
        replay = Replay(capacity=24, ratio=math.inf)
        if is_filled and whole[0].replay is not None:
            replay.put(whole[0].replay.episodes, whole[0].replay.born * 0)
        return make_agent(replay)

    uninterrupted = offline(is_filled=True)
    uninterrupted.learn(64, log_dir=tmp_path / "whole", progress=False)
    offline(is_filled=True).learn(40, log_dir=tmp_path / "parts", progress=False)
    resumed = offline(is_filled=False)
    resumed.learn(64, log_dir=tmp_path / "parts", progress=False)
    assert_same_run((uninterrupted, tmp_path / "whole"), (resumed, tmp_path / "parts"))
