from __future__ import annotations

import pytest

import wrappers
from rlhf_env import exact
from rlhf_env.env import RLHFEnv
from rlhf_env.task import Task
from tests.wrappers.episodes import paid, soft_optimum


def test_every_step_is_paid_the_whole_prefix(toy15: Task) -> None:
    env = wrappers.PrefixReward(RLHFEnv(toy15))
    assert paid(env, (1, 2, 0)) == pytest.approx([1.0, 0.5, 0.75], abs=1e-9)
    assert paid(env, (1, 1, 1)) == pytest.approx([1.0, 2.0, 3.0], abs=1e-9)


def test_the_end_is_paid_its_penalty(toy15: Task) -> None:
    env = wrappers.PrefixReward(RLHFEnv(toy15, length_limit="penalize", missing_eos_penalty=0.5))
    assert paid(env, (1, 1, 1)) == pytest.approx([1.0, 2.0, 2.5], abs=1e-9)


def test_a_truncated_end_is_paid_like_any_prefix(toy15: Task) -> None:
    env = wrappers.PrefixReward(RLHFEnv(toy15, length_limit="bootstrap"))
    assert paid(env, (1, 1, 2)) == pytest.approx([1.0, 2.0, 1.5], abs=1e-9)


def test_it_moves_the_optimum(toy15: Task) -> None:
    biased = soft_optimum(wrappers.PrefixReward(RLHFEnv(toy15)), toy15, gamma=1.0)
    plain = exact.solve(toy15, kl_coef=0.5).policy
    # Ending at once is worth 0.25 either way, but a first 1 is now paid three times.
    assert plain[()][0] == pytest.approx(0.087267, abs=1e-6)
    assert biased[()][0] < 0.01
    telescoping = soft_optimum(wrappers.PrefixDifference(RLHFEnv(toy15)), toy15, gamma=1.0)
    assert telescoping[()] == pytest.approx([0.087267, 0.857236, 0.055497], abs=1e-6)
