"""Every pair of wrappers in both orders: accepted and sound, or refused with the cure."""

from __future__ import annotations

import gymnasium as gym
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import VectorWrapper
from stable_baselines3.common.env_checker import check_env as check_sb3_env

import wrappers
import wrappers.vector
from rlhf_env.env import RLHFEnv
from rlhf_env.testing.as_one import AsOne
from rlhf_env.vector_env import RLHFVectorEnv
from tests.wrappers.pairs import ONE_OF_EACH, REFUSED, SENSIBLE, pair, toy15_in_lines
from wrappers.stack.vector_base import VectorBase


def test_no_wrapper_is_left_out() -> None:
    wrapped = {name for name in wrappers.__all__ if name[0].isupper()}
    assert set(ONE_OF_EACH) == set(REFUSED) == wrapped
    assert len(SENSIBLE) == 22 * 22 - 111


@pytest.mark.parametrize("outer", ONE_OF_EACH)
def test_both_checkers_pass_under_every_pair(outer: str) -> None:
    for inner in [inner for other, inner in SENSIBLE if other == outer]:
        env = pair(outer, inner)(wrappers, gym.make("RLHF-v0", task=toy15_in_lines()))
        check_env(AsOne(env))
        check_sb3_env(env, warn=True)


@pytest.mark.parametrize("outer", [outer for outer, inner in REFUSED.items() if inner])
def test_the_other_pairs_are_refused_with_what_to_do(outer: str) -> None:
    toy15 = toy15_in_lines()
    for inner in REFUSED[outer]:
        for package, env in (
            (wrappers, RLHFEnv(toy15)),
            (wrappers.vector, RLHFVectorEnv(2, toy15)),
        ):
            with pytest.raises(ValueError, match=r"; (keep one of them|put|leave out)"):
                pair(outer, inner)(package, env)


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_both_versions_record_their_arguments(name: str) -> None:
    toy15 = toy15_in_lines()
    single = ONE_OF_EACH[name](wrappers, RLHFEnv(toy15))
    vector = ONE_OF_EACH[name](wrappers.vector, RLHFVectorEnv(2, toy15))
    assert vector._saved_kwargs == single._saved_kwargs
    again = type(vector)(RLHFVectorEnv(2, toy15), **vector._saved_kwargs)
    assert repr(again) == repr(vector)


def test_the_base_class_is_not_subscripted_at_run_time() -> None:
    # Gymnasium 1.2 and 1.3 have no VectorWrapper[...].
    assert VectorBase.__mro__[1] is VectorWrapper
