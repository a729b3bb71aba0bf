"""Rewards of bad manners: what they do to the process does not reach the training."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from agents import GRPO, PPO, Agent
from agents.training.run_log import read_metrics
from rlhf_env.task import Task
from tests.agents.episodes import make_envs
from tests.agents.runs import assert_equal, weights, without_time
from tests.toys import FavoriteTokenReward, tiny_gpt2_task


class Boor(FavoriteTokenReward):
    """Prints, seeds everybody's generators, changes the folder, and writes into its arguments."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, prompts: list[Tensor], responses: list[Tensor]) -> Tensor:
        scores = super().__call__(prompts, responses)
        print("scored", len(responses))
        torch.manual_seed(0), np.random.seed(0), random.seed(0)
        os.chdir(self.folder)
        for ids in (*prompts, *responses):
            ids.zero_()
        return scores


def trained(kind: type[Agent], reward: Any, **options: Any) -> tuple[list[Any], Agent]:
    task = Task(**{**vars(tiny_gpt2_task()), "reward": reward})
    agent = kind(make_envs(task, 8), episodes_per_update=16)
    return without_time(agent.learn(48, progress=False, **options)), agent


@pytest.mark.parametrize("kind", [PPO, GRPO])
def test_a_boor_s_run_is_that_of_a_polite_reward(
    kind: type[Agent], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    figures, agent = trained(kind, FavoriteTokenReward())
    its_figures, its_agent = trained(kind, Boor(elsewhere), log_dir="run")
    assert its_figures == figures
    assert_equal(weights(its_agent), weights(agent))
    # The run's files are together, where the run was begun.
    assert list(elsewhere.iterdir()) == []
    assert len(read_metrics(tmp_path / "run" / "metrics.jsonl")) == 3
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == [
        "update-00000003"
    ]


@pytest.mark.parametrize("kind", [PPO, GRPO])
@pytest.mark.parametrize("scale", [1e6, -1e6, 1e-6])
def test_a_reward_of_any_scale_is_learned_from(kind: type[Agent], scale: float) -> None:
    """Clipping and whitening keep the step of usual size, and every figure is a number."""

    def judge(prompts: list[Tensor], responses: list[Tensor]) -> Tensor:
        return scale * FavoriteTokenReward()(prompts, responses)

    figures, agent = trained(kind, judge)
    assert all(np.isfinite(list(row.values())).all() for row in figures)
    assert all(parameter.isfinite().all() for parameter in agent.policy.parameters())
    assert all(row["ratio_max"] < 10 for row in figures)


@pytest.mark.parametrize("kind", [PPO, GRPO])
def test_a_reward_whose_square_overflows_is_refused(kind: type[Agent]) -> None:
    def judge(prompts: list[Tensor], responses: list[Tensor]) -> Tensor:
        return 1e19 * FavoriteTokenReward()(prompts, responses)

    message = r"add up to at most 1e\+15 in size, .*float32.*e\+\d+; scale the reward down"
    with pytest.raises(ValueError, match=message):
        trained(kind, judge)


@pytest.mark.parametrize("kind", [PPO, GRPO])
def test_equal_rewards_finish_the_run(kind: type[Agent]) -> None:
    """The score stays what it is, and without KL nothing pulls anywhere."""

    def same(prompts: list[Tensor], responses: list[Tensor]) -> Tensor:
        return torch.ones(len(responses))

    figures, _ = trained(kind, same)
    assert [row["score"] for row in figures] == [1.0] * 3
    assert all(np.isfinite(list(row.values())).all() for row in figures)
