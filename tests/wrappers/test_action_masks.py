"""Masks of the tokens that may come next."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import wrappers
import wrappers.vector
from rlhf_env.env import RLHFEnv
from rlhf_env.task import Task
from rlhf_env.vector_env import RLHFVectorEnv
from tests.toys import EOS, tiny_llama_task

TASK = tiny_llama_task(vocab_size=8, horizon=3)


def allowed(env: Any) -> list[int]:
    return env.action_masks().nonzero()[0].tolist()


def test_everything_is_allowed_unless_something_is_asked_for(toy15: Task) -> None:
    env = wrappers.ActionMasks(RLHFEnv(toy15))
    env.reset(seed=0)
    assert env.action_masks().tolist() == [True, True, True]
    assert env.action_masks().dtype == np.bool_


def test_the_best_tokens_of_the_reference(toy15: Task) -> None:
    # The root's probabilities are 0.502483, 0.108773, 0.388744.
    for k, expected in ((1, [0]), (2, [0, 2]), (3, [0, 1, 2]), (9, [0, 1, 2])):
        env = wrappers.ActionMasks(RLHFEnv(toy15), top_k=k)
        env.reset(seed=0)
        assert allowed(env) == expected


def test_the_best_are_chosen_among_the_allowed_tokens(toy15: Task) -> None:
    env = wrappers.ActionMasks(RLHFEnv(toy15), top_k=1, allowed_tokens=[1, 2])
    env.reset(seed=0)
    assert allowed(env) == [2]


def test_only_eos_is_left_at_the_limit() -> None:
    env = wrappers.ActionMasks(RLHFEnv(TASK), allowed_tokens=[3, 4], eos_at_limit=True)
    env.reset(seed=0)
    masks = [allowed(env)]
    for token in (3, 4):
        env.step(token)
        masks.append(allowed(env))
    assert masks == [[3, 4], [3, 4], [EOS]]
    assert env.step(EOS)[4]["finish_reason"] == "eos"


def test_each_row_has_the_mask_of_a_single_environment() -> None:
    envs = wrappers.vector.ActionMasks(RLHFVectorEnv(3, TASK), top_k=3, eos_at_limit=True)
    envs.reset(options={"prompt_index": [0, 1, 2]})
    envs.step(np.array([2, 5, 7]))
    masks = envs.action_masks()
    assert masks.shape == (3, 8)
    for row, token in enumerate([2, 5, 7]):
        env = wrappers.ActionMasks(RLHFEnv(TASK), top_k=3, eos_at_limit=True)
        env.reset(options={"prompt_index": row})
        env.step(token)
        np.testing.assert_array_equal(masks[row], env.action_masks())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top_k": 0}, "top_k must be an integer >= 1, got 0"),
        ({"allowed_tokens": 3}, "allowed_tokens must be a list of token ids, got 3"),
        ({"allowed_tokens": []}, "allowed_tokens must name at least one token id, got none"),
        ({"allowed_tokens": [8]}, "allowed_tokens must be below 8, got 8"),
        ({"allowed_tokens": [-1]}, "allowed_tokens must be an integer >= 0, got -1"),
        ({"eos_at_limit": 1}, "eos_at_limit must be True or False, got 1"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        wrappers.ActionMasks(RLHFEnv(TASK), **options)


def test_actions_must_be_token_ids() -> None:
    with pytest.raises(ValueError, match="ActionMasks needs token ids inside, got actions"):
        wrappers.ActionMasks(wrappers.TopKActions(RLHFEnv(TASK), k=3))
