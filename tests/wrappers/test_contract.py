"""Both checkers, under every wrapper and pair, with warnings as errors."""

from __future__ import annotations

import warnings

import gymnasium as gym
import pytest
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_sb3_env

import wrappers
from rlhf_env.task import Task
from rlhf_env.tasks import load_task
from rlhf_env.testing.as_one import AsOne
from tests.wrappers.stacks import STACKS, Stack

# One of each kind on a task of a real size.
ON_REVIEWS = ["every_2", "shaping", "prefix", "length", "repetition", "normalized", "token"]
ON_REVIEWS += ["top_3", "text", "recorded", "hidden", "macro_2(every_2)", "boundary", "bandit"]
SAMPLED = {"kl_penalty": "sampled"}


@pytest.fixture(scope="module")
def reviews() -> Task:
    return load_task("reviews")


def check(env: gym.Env, *ignored: str) -> None:
    with warnings.catch_warnings():
        for message in ignored:
            warnings.filterwarnings("ignore", message=message)
        check_env(AsOne(env))


@pytest.mark.parametrize("stack", STACKS.values(), ids=STACKS)
def test_gymnasium_checker_passes(stack: Stack) -> None:
    check(stack(wrappers, gym.make("RLHF-v0", task="toy15")))


@pytest.mark.parametrize("stack", STACKS.values(), ids=STACKS)
def test_gymnasium_checker_passes_where_the_action_carries_its_logprob(stack: Stack) -> None:
    env = stack(wrappers, gym.make("RLHF-v0", task="toy15", **SAMPLED))
    # A vector of log-probabilities cannot be normalized to [-1, 0].
    check(env, ".*recommend using a symmetric and normalized space.*")


@pytest.mark.parametrize("stack", STACKS.values(), ids=STACKS)
def test_stable_baselines_checker_passes(stack: Stack) -> None:
    check_sb3_env(stack(wrappers, gym.make("RLHF-v0", task="toy15")), warn=True)


@pytest.mark.parametrize("name", ON_REVIEWS)
def test_the_checkers_pass_on_reviews(reviews: Task, name: str) -> None:
    env = STACKS[name](wrappers, gym.make("RLHF-v0", task=reviews, max_new_tokens=6))
    check(env)
    check_sb3_env(env, warn=True)


@pytest.mark.parametrize(
    "name", ["every_2", "own_potential", "length", "token", "normalized", "boundary"]
)
def test_a_stack_can_be_made_again_from_its_spec(name: str) -> None:
    env = STACKS[name](wrappers, gym.make("RLHF-v0", task="toy15"))
    assert str(gym.make(env.spec)) == str(env)
