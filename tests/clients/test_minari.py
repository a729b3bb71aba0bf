"""Minari's DataCollector, infos included: what it stores is what the episodes paid."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from wrappers import NumericInfo

minari = pytest.importorskip("minari")
pytest.importorskip("h5py")
# It warns of a description without authors, and leaves its temporary folders to be collected.
pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning:minari.*"),
    pytest.mark.filterwarnings("ignore:Implicitly cleaning up:ResourceWarning"),
]


@pytest.mark.parametrize(("task", "episodes"), [("toy15", 12), ("reviews", 3)])
def test_a_data_set_holds_whole_episodes(
    task: str, episodes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    env = minari.DataCollector(NumericInfo(gym.make("RLHF-v0", task=task)), record_infos=True)
    env.action_space.seed(0)
    totals: list[float] = []
    lengths: list[int] = []
    for seed in range(episodes):
        env.reset(seed=seed)
        paid, is_over = [], False
        while not is_over:
            _, reward, terminated, truncated, _ = env.step(env.action_space.sample())
            paid.append(reward)
            is_over = terminated or truncated
        totals.append(sum(paid))
        lengths.append(len(paid))
    env.create_dataset(f"rlhf/{task}-v0")
    env.close()
    stored: list[Any] = list(minari.load_dataset(f"rlhf/{task}-v0").iterate_episodes())
    assert [len(episode.rewards) for episode in stored] == lengths
    for episode, total, length in zip(stored, totals, lengths, strict=True):
        assert episode.rewards.sum() == pytest.approx(total, abs=1e-4)
        assert len(episode.observations["input_ids"]) == length + 1
        infos = episode.infos
        terms = sum(infos["reward_terms"][name] for name in ("score", "kl"))
        np.testing.assert_allclose(terms[1:], episode.rewards, atol=1e-5)
        assert infos["response_length"].tolist() == list(range(length + 1))
        assert (infos["finish_reason"] > 0).tolist() == [False] * length + [True]
