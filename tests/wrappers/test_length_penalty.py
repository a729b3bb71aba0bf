from __future__ import annotations

import pytest

import wrappers
from rlhf_env.env import RLHFEnv
from rlhf_env.task import Task
from tests.wrappers.episodes import paid, play


def test_every_token_beyond_the_free_ones_costs(toy15: Task) -> None:
    env = wrappers.LengthPenalty(RLHFEnv(toy15), coef=0.5, free_tokens=1)
    assert paid(env, (1, 2, 0), "length") == [0.0, -0.5, -0.5]
    assert paid(env, (0,), "length") == [0.0]
    assert paid(env, (1, 2, 0)) == [0.0, 0.0, 0.75]


def test_the_reward_is_the_sum_of_the_terms(toy15: Task) -> None:
    env = wrappers.LengthPenalty(RLHFEnv(toy15, kl_coef=0.0), coef=0.25)
    rewards = [reward for _, reward, *_ in play(env, (1, 1, 1))]
    assert rewards == pytest.approx([-0.25, -0.25, 2.75], abs=1e-9)


def test_a_free_penalty_changes_no_reward(toy15: Task) -> None:
    plain, free = RLHFEnv(toy15), wrappers.LengthPenalty(RLHFEnv(toy15), coef=0.0)
    expected = [step[1] for step in play(plain, (1, 2, 0))]
    assert [step[1] for step in play(free, (1, 2, 0))] == expected


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"coef": -1.0}, "coef must be a finite number >= 0, got -1.0"),
        ({"coef": float("nan")}, "coef must be a finite number"),
        ({"coef": 1.0, "free_tokens": -1}, "free_tokens must be an integer >= 0, got -1"),
        ({"coef": 1.0, "free_tokens": 1.5}, "free_tokens must be an integer >= 0, got 1.5"),
    ],
)
def test_numbers_out_of_range_are_refused(toy15: Task, options: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        wrappers.LengthPenalty(RLHFEnv(toy15), **options)
