"""Unusual tasks and callers that no other file speaks of."""

from __future__ import annotations

import dataclasses
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

import rlhf_env  # noqa: F401 -- registers the environment
from agents import Policy, collect
from rlhf_env.task import Task
from tests.agents.episodes import make_envs
from tests.toys import EOS, FavoriteTokenReward, tiny_gpt2_task, tiny_llama_task


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", torch.float64])
def test_a_reference_of_any_width_runs_on_the_cpu(dtype: Any) -> None:
    env = gym.make("RLHF-v0", task=tiny_gpt2_task(), dtype=dtype, device="cpu")
    plain = gym.make("RLHF-v0", task=tiny_gpt2_task(), device="cpu")
    for each in (env, plain):
        each.reset(options={"prompt_index": 2})
    for token in (5, 9, EOS):
        paid, expected = env.step(token)[1], plain.step(token)[1]
        assert type(paid) is float
        assert paid == pytest.approx(expected, abs=0.02)


def test_equal_prompts_are_different_draws() -> None:
    """Groups go by draw, not by text, and every copy of a prompt has its own number."""
    task = dataclasses.replace(tiny_llama_task(), prompts=[[2, 3]] * 3)
    rollout = collect(make_envs(task, 4), Policy(task.reference, 32), 6, seed=0, group_size=2)
    assert rollout.group.tolist() == [0, 0, 1, 1, 2, 2]
    assert sorted(rollout.prompt_index.tolist()) == [0, 0, 1, 1, 2, 2]
    assert rollout.tokens[:, :2].tolist() == [[2, 3]] * 6


def test_a_score_that_float32_cannot_hold_is_no_number() -> None:
    def judge(prompts: list[str], responses: list[str]) -> list[float]:
        return [1e39] * len(responses)

    env = gym.make("RLHF-v0", task=Task(**{**vars(tiny_llama_task()), "reward": judge}))
    env.reset(seed=0)
    with pytest.raises(ValueError, match="judge must return 1 finite numbers, got inf"):
        env.step(EOS)


@pytest.mark.parametrize("scale", [1e6, 1e30])
def test_a_huge_score_is_paid_as_it_is(scale: float) -> None:
    def judge(prompts: list[torch.Tensor], responses: list[torch.Tensor]) -> torch.Tensor:
        return scale * FavoriteTokenReward()(prompts, responses)

    env = gym.make("RLHF-v0", task=Task(**{**vars(tiny_llama_task()), "reward": judge}))
    env.reset(seed=0)
    _, reward, _, _, info = env.step(EOS)
    assert info["score"] == pytest.approx(-0.1 * scale, rel=1e-6)
    assert np.isfinite(reward)


def test_a_model_of_the_user_is_not_switched_to_training() -> None:
    """Whatever mode the task's model came in, it is evaluated, and it stays so."""
    task = tiny_gpt2_task(dropout=0.5)
    task.reference.train()
    envs: Any = gym.make_vec("RLHF-v0", num_envs=2, task=task)
    paid = []
    for _ in range(2):
        envs.reset(seed=0)
        paid.append([envs.step(np.array([4, 5]))[1].tolist() for _ in range(3)])
    assert paid[0] == paid[1]
    assert not any(module.training for module in task.reference.modules())
