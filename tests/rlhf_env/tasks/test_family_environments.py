"""The families as environments: checkers, stepping and rows, and what a step costs."""

from __future__ import annotations

import warnings
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from stable_baselines3.common.env_checker import check_env as sb3_check_env
from torch import nn

from agents import Policy, collect
from rlhf_env.engine.language_model import LanguageModel
from rlhf_env.engine.row_cache import RowCache
from rlhf_env.exact import solve
from rlhf_env.exact.by_state import StateValues
from rlhf_env.tasks import load_task, task_families
from rlhf_env.tasks.automaton_lm import AutomatonLM
from tests.agents.episodes import make_envs
from tests.automata import moved_policy
from tests.rlhf_env.test_vector_env import same

POLICIES = ("table", "timed_table", "transformer")


@pytest.mark.parametrize("kind", POLICIES)
@pytest.mark.parametrize("family", task_families())
def test_both_checkers_pass(family: str, kind: str) -> None:
    task = load_task(f"{family}-8", policy=kind)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for penalty in ("reference", "sampled"):
            env = gym.make("RLHF-v0", task=task, kl_penalty=penalty)
            check_env(env.unwrapped, skip_render_check=True)
        sb3_check_env(gym.make("RLHF-v0", task=task).unwrapped, warn=True)


@pytest.mark.parametrize("kind", POLICIES)
@pytest.mark.parametrize("family", task_families())
def test_stepping_gives_the_numbers_of_the_rollout(family: str, kind: str) -> None:
    task = load_task(f"{family}-8", policy=kind)
    policy = Policy(moved_policy(task), task.vocab_size)
    fast, stepped = (
        collect(make_envs(task), policy, 12, seed=3, fast=is_fast) for is_fast in (True, False)
    )
    assert len(set(map(tuple, fast.tokens.tolist()))) > 2
    assert torch.equal(fast.tokens, stepped.tokens)
    for name in ("logprobs", "ref_logprobs", "rewards", "score"):
        assert torch.allclose(getattr(fast, name), getattr(stepped, name), atol=1e-5)


@pytest.mark.parametrize("kind", POLICIES)
@pytest.mark.parametrize("family", task_families())
def test_rows_are_single_environments(family: str, kind: str) -> None:
    task, random = load_task(f"{family}-8", policy=kind), np.random.default_rng(0)
    mode = AutoresetMode.NEXT_STEP
    rows = gym.make_vec("RLHF-v0", num_envs=3, task=task, autoreset_mode=mode)
    singles = SyncVectorEnv([lambda: gym.make("RLHF-v0", task=task)] * 3, autoreset_mode=mode)
    same(rows.reset(seed=3), singles.reset(seed=3))
    ended = 0
    for _ in range(20):
        tokens = random.integers(0, task.vocab_size, 3)
        ours = rows.step(tokens)
        same(ours, singles.step(tokens))
        ended += int(ours[2].sum())
    assert ended > 3


def cached_numbers(model: AutomatonLM, vocab_size: int, horizon: int) -> int:
    """How many numbers a cache holds once a whole response has been decoded token by token."""
    caches: list[RowCache] = []
    read: list[int] = []

    def look(module: nn.Module, args: object, given: dict[str, Any]) -> None:
        caches.append(given["past_key_values"])
        read.append(given["input_ids"].shape[1])

    cached = LanguageModel(model, vocab_size)
    handle = model.trunk.register_forward_pre_hook(look, with_kwargs=True)
    tokens = torch.ones((1, horizon + 1), dtype=torch.int64)
    for length in range(1, horizon + 1):
        cached.next_logits(tokens, torch.tensor([length]))
    handle.remove()
    assert read[-horizon:] == [1] * horizon and len(set(map(id, caches[-horizon:]))) == 1
    layers = caches[-1].layers
    return sum(getattr(layer, name).numel() for layer in layers for name in ("keys", "values"))


@pytest.mark.parametrize("kind", POLICIES)
def test_memory_follows_the_length_and_not_the_number_of_prefixes(kind: str) -> None:
    def held(horizon: int, vocab_size: int) -> int:
        task = load_task(f"delay-{horizon}", vocab_size=vocab_size, policy=kind)
        model = task.reference
        assert isinstance(model, AutomatonLM)
        return cached_numbers(model, vocab_size, horizon)

    # Of 2 ** 8, 15 ** 8 and 2 ** 64 prefixes. Per token the state is kept, as key and as value;
    # and the keys and values of two layers of width 32.
    assert held(8, 16) == held(8, 3)
    per_token = 2 + 2 * 2 * 32 if kind == "transformer" else 2
    assert held(64, 3) - held(8, 3) == 56 * per_token


# At horizons 8 and 64. Only a chain has a state for each number of right tokens.
STATES = {"chain": (9, 65), "delay": (3, 3), "needles": (5, 5), "lock": (4, 4), "brackets": (5, 5)}


@pytest.mark.parametrize("family", task_families())
def test_tables_are_as_large_as_states_times_tokens(family: str) -> None:
    for horizon, states in zip((8, 64), STATES[family], strict=True):
        task = load_task(f"{family}-{horizon}")
        model = task.reference
        assert isinstance(model, AutomatonLM)
        for table in (model.trunk.next_state, model.trunk.reference_logits):
            assert table.shape == (states, task.vocab_size)
        values = solve(task, task.kl_coef).values
        assert isinstance(values, StateValues)
        assert values.by_state.shape == (horizon, states)
