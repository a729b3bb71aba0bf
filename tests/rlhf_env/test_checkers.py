"""Gymnasium's and Stable-Baselines3's checkers over tasks and options, warnings as errors."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import gymnasium as gym
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as sb3_check_env
from torch import Tensor

import rlhf_env  # noqa: F401 -- registers the environment
from rlhf_env.task import Task
from rlhf_env.tasks import load_task
from tests.toys import tiny_gpt2_task, tiny_llama_task

TASKS: dict[str, Callable[[], Task]] = {
    "toy15": lambda: load_task("toy15"),
    "reviews": lambda: load_task("reviews"),
    "gpt2": tiny_gpt2_task,
    "llama": tiny_llama_task,
}
PENALTIES = ("reference", "sampled", "sampled by a policy", "exact")
LIMITS = ("score", "penalize", "bootstrap")
HORIZONS = (1, 3, None)
RENDER_MODES = (None, "ansi")
MATRIX = [
    choice
    for choice in itertools.product(TASKS, PENALTIES, LIMITS, HORIZONS, RENDER_MODES)
    # Gymnasium takes a truncation after one step for a mistake, and here it is none.
    if not (choice[2] == "bootstrap" and choice[3] == 1)
]


@cache
def task_named(name: str) -> Task:
    return TASKS[name]()


def make(name: str, penalty: str, limit: str, horizon: int | None, mode: str | None) -> Any:
    task = task_named(name)

    def uniform(input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return torch.zeros(len(input_ids), task.vocab_size)

    options: dict[str, Any] = {"length_limit": limit, "render_mode": mode}
    if horizon is not None:
        options["max_new_tokens"] = horizon
    if penalty in ("exact", "sampled by a policy"):
        options["policy"] = uniform
    return gym.make("RLHF-v0", task=task, kl_penalty=penalty.split()[0], **options)


@pytest.mark.parametrize("choice", MATRIX, ids=lambda choice: "-".join(map(str, choice)))
def test_both_checkers_pass(choice: tuple[Any, ...]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # The checker makes every render mode again from the spec; once below is enough.
        check_env(make(*choice).unwrapped, skip_render_check=True)
        if choice[1] != "sampled":
            sb3_check_env(make(*choice).unwrapped, warn=True)


@pytest.mark.parametrize("mode", RENDER_MODES)
@pytest.mark.parametrize("name", ["toy15", "reviews"])
def test_every_declared_render_mode_is_made(name: str, mode: str | None) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(gym.make("RLHF-v0", task=name, render_mode=mode, max_new_tokens=3).unwrapped)


def test_one_token_that_is_cut_off_is_a_truncation() -> None:
    """Trap H3: the one combination that the checker refuses does what it says."""
    env = make("toy15", "reference", "bootstrap", 1, None)
    env.reset()
    assert env.step(1)[2:4] == (False, True)
    env.reset()
    assert env.step(0)[2:4] == (True, False)
