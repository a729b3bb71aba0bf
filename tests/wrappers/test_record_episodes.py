from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

import wrappers
import wrappers.vector
from rlhf_env.env import RLHFEnv
from rlhf_env.episodes import Episode, append_episode
from rlhf_env.task import Task
from rlhf_env.vector_env import RLHFVectorEnv
from tests.toys import EOS, tiny_llama_task
from tests.wrappers.episodes import as_rollout, play, transformed
from wrappers.record_episodes import read_episodes, replay

TASK = tiny_llama_task(vocab_size=8, horizon=4)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "episodes.jsonl"


def test_a_finished_episode_is_one_line(toy15: Task, path: Path) -> None:
    env = wrappers.RecordEpisodes(RLHFEnv(toy15), path)
    steps = play(env, (1, 2, 0))
    (line,) = path.read_text().splitlines()
    told = json.loads(line)
    assert told["prompt_ids"] == [0]
    assert told["response_ids"] == [1, 2, 0]
    assert (told["prompt"], told["text"]) == ("", "1 2")
    assert told["reward_terms"]["score"] == [0.0, 0.0, 0.75]
    assert told["rewards"] == [step[1] for step in steps]
    assert told["ref_logprobs"] == [step[4]["ref_logprob"] for step in steps]
    assert (told["score"], told["finish_reason"], told["terminated"]) == (0.75, "eos", True)
    assert (told["prompt_index"], told["seed"], told["logprobs"]) == (0, 0, None)


def test_an_unfinished_episode_is_not_recorded(toy15: Task, path: Path) -> None:
    env = wrappers.RecordEpisodes(RLHFEnv(toy15), path)
    play(env, (1, 2))
    assert not path.exists()
    play(env, (0,))
    assert [list(episode.response_ids) for episode in read_episodes(path)] == [[0]]


def dense(env: RLHFEnv) -> Any:
    return wrappers.LengthPenalty(wrappers.EveryK(env, k=2), coef=0.25)


@pytest.mark.parametrize("limit", ["score", "penalize", "bootstrap"])
def test_replayed_episodes_are_paid_the_same(path: Path, limit: str) -> None:
    env = wrappers.RecordEpisodes(dense(RLHFEnv(TASK, length_limit=limit)), path)
    play(env, [5, 2, EOS], prompt_index=1)
    play(env, [2, 3, 4, 5], prompt_index=2)
    env.reset(options={"prompt": [3, 3]})
    env.step(EOS)
    recorded = list(read_episodes(path))
    replayed = list(replay(path, dense(RLHFEnv(TASK, length_limit=limit))))
    assert len(replayed) == 3
    for got, expected in zip(replayed, recorded, strict=True):
        assert got.rewards == pytest.approx(expected.rewards, abs=1e-6)
        assert got.prompt_ids == expected.prompt_ids
        assert got.response_ids == expected.response_ids
        assert (got.score, got.terminated) == (pytest.approx(expected.score), expected.terminated)


def test_actions_that_carry_logprobs_are_replayed_with_them(toy15: Task, path: Path) -> None:
    env = wrappers.RecordEpisodes(RLHFEnv(toy15, kl_penalty="sampled"), path)
    play(env, [{"token": 1, "logprob": -0.5}, {"token": 0, "logprob": -1.5}])
    (recorded,) = read_episodes(path)
    assert recorded.logprobs == [-0.5, -1.5]
    (replayed,) = replay(path, RLHFEnv(toy15, kl_penalty="sampled"))
    assert replayed.rewards == pytest.approx(recorded.rewards, abs=1e-6)


@pytest.mark.parametrize("tensors", ["numpy", "torch"])
@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_rows_are_recorded_as_they_end(path: Path, mode: AutoresetMode, tensors: str) -> None:
    envs = RLHFVectorEnv(3, TASK, autoreset_mode=mode, tensors=tensors)
    envs = wrappers.vector.RecordEpisodes(envs, path)
    envs.reset(seed=5)
    generator, ended = np.random.default_rng(0), 0
    for _ in range(15):
        tokens = np.where(generator.random(3) < 0.3, EOS, generator.integers(2, 8, size=3))
        _, _, terminated, _, _ = envs.step(tokens)
        ended += int(terminated.sum())
    recorded = list(read_episodes(path))
    assert len(recorded) == ended >= 6
    assert {episode.seed for episode in recorded} == {5, 6, 7}
    for got, expected in zip(replay(path, RLHFEnv(TASK)), recorded, strict=True):
        assert got.rewards == pytest.approx(expected.rewards, abs=1e-5)


def test_a_rollout_is_recorded_too(toy15: Task, path: Path) -> None:
    env = wrappers.RecordEpisodes(wrappers.EveryK(RLHFEnv(toy15), k=1), path)
    transformed(env, as_rollout(toy15, [(0, [1, 2, 0]), (0, [1, 1, 1])]))
    first, second = read_episodes(path)
    assert first.reward_terms["score"] == pytest.approx([1.0, -0.5, 0.25], abs=1e-6)
    assert (second.finish_reason, second.score) == ("length", 3.0)
    plain = wrappers.EveryK(RLHFEnv(toy15), k=1)
    for got, expected in zip(replay(path, plain), (first, second), strict=True):
        assert got.rewards == pytest.approx(expected.rewards, abs=1e-6)


def test_text_is_escaped_where_it_is_shown(toy15: Task, path: Path) -> None:
    play(wrappers.RecordEpisodes(RLHFEnv(toy15), path), (0,))
    (episode,) = read_episodes(path)
    nasty = Episode(**{**vars(episode), "text": "a\x1b[31m\n"})
    append_episode(path, nasty)
    assert list(read_episodes(path))[1].text == "a\x1b[31m\n"
    assert str(nasty) == " | a\\x1b[31m\\n | score 0.2500"
    assert "\x1b" not in path.read_text()


def test_a_line_that_a_crash_cut_short_is_left_out(toy15: Task, path: Path) -> None:
    play(wrappers.RecordEpisodes(RLHFEnv(toy15), path), (0,))
    with path.open("a") as file:
        file.write('{"prompt_ids": [0')
    assert len(list(read_episodes(path))) == 1
    path.write_text("nonsense\n")
    with pytest.raises(ValueError, match=r"line 1 of .* is not a recorded episode"):
        list(read_episodes(path))


def test_another_environment_than_the_recorded_one_is_refused(toy15: Task, path: Path) -> None:
    play(wrappers.RecordEpisodes(RLHFEnv(TASK), path), [2, 3, 4, 5])
    with pytest.raises(ValueError, match="this environment ended it after 2; replay it"):
        list(replay(path, RLHFEnv(TASK, max_new_tokens=2)))
    with pytest.raises(ValueError, match="this environment continues it after 4"):
        list(replay(path, RLHFEnv(TASK, max_new_tokens=6)))
    with pytest.raises(ValueError, match="another prompt than number 0 of task 'toy15'"):
        list(replay(path, RLHFEnv(toy15)))
    with pytest.raises(ValueError, match="replay steps token ids, got actions Discrete"):
        list(replay(path, wrappers.TopKActions(RLHFEnv(TASK), k=3)))


def test_the_folder_must_exist(toy15: Task, tmp_path: Path) -> None:
    for bad in (tmp_path / "none" / "episodes.jsonl", tmp_path):
        with pytest.raises(ValueError, match="path must be a file in an existing folder"):
            wrappers.RecordEpisodes(RLHFEnv(toy15), bad)
    with pytest.raises(ValueError, match="put RecordEpisodes inside SequenceBandit"):
        wrappers.RecordEpisodes(wrappers.SequenceBandit(RLHFEnv(toy15)), tmp_path / "a")
