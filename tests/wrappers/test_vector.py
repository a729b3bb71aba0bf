"""N rows of a wrapped vector environment do what N wrapped single environments do."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import wrappers
import wrappers.vector
from rlhf_env.env import RLHFEnv
from rlhf_env.vector_env import RLHFVectorEnv
from tests.toys import EOS, tiny_llama_task
from tests.wrappers.stacks import BANDITS, STACKS, VIEWS, Stack

TASK = tiny_llama_task(vocab_size=8, horizon=5)
NUM_ENVS, NUM_STEPS = 3, 10
CARRYING = [
    "every_2",
    "length",
    "top_3",
    "macro_2(top_3)",
    "macro_2(every_2)",
    "boundary",
    "bandit",
]
TENSORS = ["every_2", "normalized", "text", "hidden", "top_3", "macro_2(shaping)", "bandit"]


def assert_same(got: Any, expected: Any, where: str) -> None:
    """Compare observations or infos, numbers within 1e-5."""
    if isinstance(expected, dict):
        assert set(got) == set(expected), where
        for key in expected:
            assert_same(got[key], expected[key], f"{where}[{key!r}]")
    elif expected.dtype == object:
        for row, entry in enumerate(expected):
            if isinstance(entry, dict):
                assert_same(got[row], entry, f"{where}[{row}]")
            else:
                np.testing.assert_equal(got[row], entry, err_msg=where)
    else:
        assert got.dtype == expected.dtype, where
        np.testing.assert_allclose(got, expected, atol=1e-5, err_msg=where)


def random_actions(space: gym.Space, generator: np.random.Generator) -> Any:
    """Actions in which every third token ends the response, or any ranks."""
    if isinstance(space, gym.spaces.Dict):
        name, other = ("tokens", "logprobs") if "tokens" in space.spaces else ("token", "logprob")
        tokens = random_actions(space[name], generator)
        return {name: tokens, other: -generator.random(tokens.shape).astype(np.float32)}
    many = space.nvec if isinstance(space, gym.spaces.MultiDiscrete) else space.high + 1
    tokens = generator.integers(0, many)
    if int(many.max()) < TASK.vocab_size:
        return tokens
    return np.where(generator.random(space.shape) < 1 / 3, EOS, tokens)


def assert_equal_steps(stack: Stack, mode: AutoresetMode, **options: Any) -> int:
    """Step both ways with the same actions; how many episodes ended."""
    vector = stack(wrappers.vector, RLHFVectorEnv(NUM_ENVS, TASK, autoreset_mode=mode, **options))
    make = lambda: stack(wrappers, RLHFEnv(TASK, **options))  # noqa: E731
    singles = SyncVectorEnv([make] * NUM_ENVS, autoreset_mode=mode)
    assert vector.single_action_space == singles.single_action_space
    for got, expected in zip(vector.reset(seed=5), singles.reset(seed=5), strict=True):
        assert_same(got, expected, "reset")
    generator, num_ended = np.random.default_rng(1), 0
    for step in range(NUM_STEPS):
        actions = random_actions(vector.action_space, generator)
        got, expected = vector.step(actions), singles.step(actions)
        for part, a, b in zip(
            ("obs", "reward", "ended", "cut", "info"), got, expected, strict=True
        ):
            assert_same(a, b, f"step {step} {part}")
        ended = expected[2] | expected[3]
        num_ended += int(ended.sum())
        if mode == AutoresetMode.DISABLED and ended.any():
            for envs in (vector, singles):
                envs.reset(options={"reset_mask": ended.copy()})
    return num_ended


@pytest.mark.parametrize("mode", AutoresetMode)
@pytest.mark.parametrize("name", STACKS)
def test_rows_do_what_single_environments_do(name: str, mode: AutoresetMode) -> None:
    limit = "penalize" if name in BANDITS else "bootstrap"
    assert assert_equal_steps(STACKS[name], mode, length_limit=limit) >= (3 if name in VIEWS else 5)


@pytest.mark.parametrize("mode", AutoresetMode)
@pytest.mark.parametrize("name", CARRYING)
def test_rows_whose_actions_carry_logprobs(name: str, mode: AutoresetMode) -> None:
    assert assert_equal_steps(STACKS[name], mode, kl_penalty="sampled") >= 3


@pytest.mark.parametrize("mode", AutoresetMode)
@pytest.mark.parametrize("name", TENSORS)
def test_tensors_say_what_arrays_say(name: str, mode: AutoresetMode) -> None:
    arrays, tensors = (
        STACKS[name](
            wrappers.vector, RLHFVectorEnv(NUM_ENVS, TASK, autoreset_mode=mode, tensors=kind)
        )
        for kind in ("numpy", "torch")
    )
    arrays.reset(seed=5)
    tensors.reset(seed=5)
    actions = np.full(arrays.action_space.shape, EOS)
    expected, got = arrays.step(actions), tensors.step(torch.as_tensor(actions))
    assert all(isinstance(part, torch.Tensor) for part in got[1:4])
    np.testing.assert_allclose(got[1].numpy(), expected[1], atol=1e-6)
    info, other = (
        infos.get("final_info", infos)["reward_terms"] for infos in (got[4], expected[4])
    )
    assert isinstance(info["score"], torch.Tensor)
    np.testing.assert_allclose(info["score"].numpy(), other["score"], atol=1e-6)


def test_a_bad_action_changes_no_row() -> None:
    envs = wrappers.vector.MacroAction(RLHFVectorEnv(2, TASK), n=3)
    envs.reset(seed=0)
    before = envs.unwrapped.mdp.tokens.clone()
    with pytest.raises(ValueError, match="got 8 at position 2 of row 1"):
        envs.step(np.array([[2, 3, 4], [2, 3, 8]]))
    assert torch.equal(envs.unwrapped.mdp.tokens, before)


def test_rows_without_an_open_episode_are_refused() -> None:
    envs = wrappers.vector.SequenceBandit(
        RLHFVectorEnv(2, TASK, autoreset_mode=AutoresetMode.DISABLED)
    )
    envs.reset(seed=0)
    envs.step(np.full((2, 5), EOS))
    with pytest.raises(gym.error.ResetNeeded, match="row 0 has no open episode"):
        envs.step(np.full((2, 5), EOS))


def test_the_held_rows_are_let_go_after_an_error() -> None:
    envs = RLHFVectorEnv(2, TASK)
    envs.reset(seed=0)
    with pytest.raises(ValueError, match="got 99"), envs.paused(torch.tensor([True, False])):
        envs.step(np.array([99, 99]))
    envs.step(np.array([2, 2]))
    assert envs.mdp.response_lengths.tolist() == [1, 1]
