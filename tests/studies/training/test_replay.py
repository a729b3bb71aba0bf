"""Training with old episodes, as the command line does it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

from agents import GRPO, Replay, collect
from agents.training.run_log import read_metrics
from studies.cli.commands.train import main
from wrappers.vector import RecordEpisodes

QUICK = [
    *("--task", "toy15", "--agent", "grpo", "--group-size", "4", "--samples", "0"),
    *("--eval-episodes", "8", "--episodes-per-update", "8", "--importance", "sequence"),
]


def make_envs() -> Any:
    return gym.make_vec("RLHF-v0", num_envs=4, task="toy15")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 episodes."""
    path = tmp_path_factory.mktemp("recorded") / "episodes.jsonl"
    policy = GRPO(make_envs(), episodes_per_update=8, group_size=4).policy
    collect(RecordEpisodes(make_envs(), path), policy, 48, seed=0, group_size=4)
    return path


def train(folder: Path, *more: str, episodes: int = 32) -> list[dict[str, Any]]:
    assert main([*QUICK, *more, "--episodes", str(episodes), "--out", str(folder)]) == 0
    return read_metrics(folder / "metrics.jsonl")


def test_a_ratio_of_old_episodes(tmp_path: Path) -> None:
    rows = train(tmp_path, "--replay-ratio", "2", "--replay-capacity", "16")
    assert [row["replay_size"] for row in rows] == [8, 16, 16, 16]
    assert [row["replay_fraction"] for row in rows] == pytest.approx([0, 1 / 2, 2 / 3, 2 / 3])
    more = train(tmp_path, "--replay-ratio", "2", "--replay-capacity", "16", episodes=48)
    assert more[:4] == rows
    assert len(more) == 6


def test_old_episodes_alone(recorded: Path, tmp_path: Path) -> None:
    rows = train(tmp_path / "run", "--from", str(recorded))
    assert {row["replay_fraction"] for row in rows} == {1.0}
    assert {row["replay_size"] for row in rows} == {48}
    loaded = GRPO.load(tmp_path / "run/checkpoints/update-00000004", make_envs())
    assert loaded.replay is not None
    assert loaded.replay.is_offline


def test_a_file_as_the_beginning_of_a_buffer(recorded: Path, tmp_path: Path) -> None:
    rows = train(tmp_path, "--from", str(recorded), "--replay-ratio", "1")
    assert [row["replay_size"] for row in rows] == [56, 64, 72, 80]
    assert {row["replay_fraction"] for row in rows} == {0.5}


def test_another_file_is_another_run(
    recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path(shutil.copy(recorded, tmp_path / "copy.jsonl"))
    train(tmp_path / "run", "--from", str(path))
    replay = Replay.from_episodes(path, make_envs(), group_size=4, capacity=40)
    path.unlink()
    replay.write_episodes(path, make_envs())
    assert main([*QUICK, "--from", str(path), "--out", str(tmp_path / "run")]) == 2
    assert "--out must hold this run" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--replay-capacity", "8"], "--replay-capacity goes with --replay-ratio or --from, got 8"),
        (["--replay-ratio", "0"], "--replay-ratio must be above 0, got 0"),
        (["--replay-ratio", "-1"], "--replay-ratio must be"),
        (["--replay-ratio", "1", "--replay-capacity", "0"], "--replay-capacity must be a whole"),
        (["--replay-ratio", "1", "--replay-priority", "old"], "--replay-priority must be one of"),
        (["--replay-ratio", "1", "--importance", "none"], "got 1 for grpo without a correction"),
        (["--replay-ratio", "0.25"], "ratio must give at least one group of 4 old episodes"),
        (["--from", "nowhere.jsonl"], "--from must be an existing file"),
    ],
)
def test_what_cannot_be_used_is_refused_before_a_file_is_made(
    words: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*QUICK, *words, "--out", str(tmp_path / "run")]) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert said.startswith("train: ")
    assert not (tmp_path / "run").exists()


def test_an_agent_of_comparisons_takes_no_old_episodes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--task", "toy15", "--agent", "dpo", "--replay-ratio", "2"]
    assert main([*words, "--out", str(tmp_path / "run")]) == 2
    sentence = "--replay-ratio needs an agent that may learn from old episodes, got 2 for dpo"
    assert sentence in capsys.readouterr().err


def test_an_agent_that_needs_no_correction_needs_no_option(tmp_path: Path) -> None:
    words = ["--task", "toy15", "--agent", "tbrm", "--samples", "0", "--eval-episodes", "8"]
    words += ["--episodes-per-update", "8", "--episodes", "16", "--replay-ratio", "4"]
    assert main([*words, "--out", str(tmp_path)]) == 0
    rows = read_metrics(tmp_path / "metrics.jsonl")
    assert [row["replay_fraction"] for row in rows] == [0, 0.5]
    settings = json.loads((tmp_path / "settings.json").read_text())
    assert settings["replay_ratio"] == 4
