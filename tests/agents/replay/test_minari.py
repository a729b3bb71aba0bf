"""Minari's data sets as buffers, and back."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from agents import GRPO, Replay, collect
from agents.replay.minari_data import minari_episodes
from agents.replay.rows import fields_of
from rlhf_env.extras import MissingExtraError
from wrappers import NumericInfo

# Minari warns of a description without authors, and leaves its temporary folders to be collected.
pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning:minari.*"),
    pytest.mark.filterwarnings("ignore:Implicitly cleaning up:ResourceWarning"),
]


def make_envs(task: str = "toy15") -> Any:
    return gym.make_vec("RLHF-v0", num_envs=4, task=task)


def data_set(*actions: list[int], infos: Any = None, **changed: Any) -> Any:
    """Return what a data set of toy15 looks like, whose prompt is one token."""
    task = make_envs().task
    begin = task.prompts[0].tolist()
    found = []
    for chosen in actions:
        text = [*begin, *chosen]
        shown = range(len(begin), len(text) + 1)
        ids = np.array([text[:n] + [0] * (4 - n) for n in shown])
        mask = np.array([[1] * n + [0] * (4 - n) for n in shown])
        fields = {
            "observations": {"input_ids": ids, "attention_mask": mask},
            "actions": np.array(chosen),
            "rewards": np.zeros(len(chosen)),
            "terminations": np.array([False] * (len(chosen) - 1) + [True]),
            "infos": infos,
        }
        found.append(SimpleNamespace(**{**fields, **changed}))
    return SimpleNamespace(iterate_episodes=lambda: found)


def test_episodes_are_read_from_observations_and_actions() -> None:
    envs = make_envs()
    stored = Replay.from_minari(data_set([1, 0], [2, 1, 2]), envs).episodes
    assert stored is not None
    assert [ids.tolist() for ids in stored.responses()] == [[1, 0], [2, 1, 2]]
    assert stored.logprobs[stored.is_action].isnan().all()
    prompts = [envs.task.prompts[0]] * 2
    scores = envs.task.reward(prompts, [torch.tensor([1, 0]), torch.tensor([2, 1, 2])])
    assert stored.score.tolist() == scores.tolist()


def test_infos_say_what_else_is_known() -> None:
    infos = {"logprob": [0.0, -1.0, -2.0], "score": [0, 0, 9.0], "prompt_index": [0.0] * 3}
    data = data_set([1, 0], infos=infos)
    (episode,) = minari_episodes(data, make_envs())
    assert episode.logprobs == [-1.0, -2.0]
    assert episode.score == 9
    assert episode.prompt_index == 0
    kept = Replay.from_minari(data, make_envs(), scores="recorded").episodes
    assert kept is not None
    assert kept.score.tolist() == [9.0]


def test_without_scores_none_can_be_kept() -> None:
    (episode,) = minari_episodes(data_set([0]), make_envs())
    assert math.isnan(episode.score)
    with pytest.raises(ValueError, match='scores="recorded" needs a score of every episode'):
        Replay.from_minari(data_set([0]), make_envs(), scores="recorded")


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"observations": np.zeros((3, 4))}, "observations with input_ids and attention_mask"),
        ({"actions": np.array([2, 0])}, "must have one token a step"),
        ({"actions": np.array([[1, 0], [0, 0]])}, "must have one token a step"),
    ],
)
def test_data_of_another_environment_are_refused(changed: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Replay.from_minari(data_set([1, 0], **changed), make_envs())


def test_a_name_needs_minari(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "minari", None)
    monkeypatch.setattr("rlhf_env.extras._is_found", lambda module: False)
    with pytest.raises(MissingExtraError, match=r"pip install 'rlhf-env\[minari\]'"):
        Replay.from_minari("rlhf/toy15-v0", make_envs())


@pytest.mark.parametrize("task", ["toy15", "reviews"])
def test_what_is_written_is_read_back(
    task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("minari")
    pytest.importorskip("h5py")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    envs = make_envs(task)
    policy = GRPO(envs, episodes_per_update=8, group_size=4).policy
    replay = Replay(capacity=8)
    replay.add(collect(envs, policy, 8, seed=2, group_size=4), 0, envs.task.pad_id)
    written = replay.write_minari(f"rlhf/{task}-v0", envs)
    assert written.total_episodes == 8
    again = Replay.from_minari(f"rlhf/{task}-v0", envs, group_size=4)
    assert replay.episodes is not None and again.episodes is not None
    expected = fields_of(replay.episodes)
    for name, values in fields_of(again.episodes).items():
        torch.testing.assert_close(values, expected[name], rtol=0, atol=1e-5)


def test_what_a_collector_recorded_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    minari = pytest.importorskip("minari")
    # Its collector needs more than its data sets.
    pytest.importorskip("jax")
    pytest.importorskip("h5py")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    env = minari.DataCollector(NumericInfo(gym.make("RLHF-v0", task="toy15")), record_infos=True)
    for tokens in ([1, 2, 0], [0], [2, 2, 2]):
        env.reset(seed=0)
        for token in tokens:
            env.step(token)
    env.create_dataset("rlhf/by-hand-v0")
    env.close()
    stored = Replay.from_minari("rlhf/by-hand-v0", make_envs(), scores="recorded").episodes
    judged = Replay.from_minari("rlhf/by-hand-v0", make_envs()).episodes
    assert stored is not None and judged is not None
    assert [ids.tolist() for ids in stored.responses()] == [[1, 2, 0], [0], [2, 2, 2]]
    torch.testing.assert_close(stored.score, judged.score)
