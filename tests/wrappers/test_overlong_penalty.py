from __future__ import annotations

import pytest

import wrappers
from rlhf_env.env import RLHFEnv
from rlhf_env.task import Task
from tests.toys import EOS, tiny_llama_task
from tests.wrappers.episodes import paid

TASK = tiny_llama_task(vocab_size=8, horizon=10)


@pytest.mark.parametrize(
    ("length", "total"), [(1, 0.0), (4, 0.0), (5, -0.25), (6, -0.5), (8, -1.0), (9, -1.0)]
)
def test_the_sum_is_the_soft_overlong_punishment(length: int, total: float) -> None:
    # DAPO, equation 13, with L_max = 8 and L_cache = 4: ((8 − 4) − |y|) / 4 between 4 and 8.
    env = wrappers.OverlongPenalty(RLHFEnv(TASK), cache_tokens=4, max_tokens=8)
    response = [*[2] * (length - 1), EOS]
    assert sum(paid(env, response, "overlong")) == pytest.approx(total, abs=1e-9)


def test_each_of_the_last_tokens_pays_its_part() -> None:
    env = wrappers.OverlongPenalty(RLHFEnv(TASK), cache_tokens=2, max_tokens=4, coef=3.0)
    assert paid(env, [2] * 6, "overlong") == [0.0, 0.0, -1.5, -1.5, 0.0, 0.0]


def test_the_limit_is_the_horizon_unless_given(toy15: Task) -> None:
    env = wrappers.OverlongPenalty(RLHFEnv(toy15), cache_tokens=1)
    assert paid(env, (1, 1, 1), "overlong") == [0.0, 0.0, -1.0]
    assert paid(env, (1, 1, 1)) == [0.0, 0.0, 3.0]
    short = wrappers.OverlongPenalty(RLHFEnv(toy15, max_new_tokens=2), cache_tokens=1)
    assert paid(short, (1, 1), "overlong") == [0.0, -1.0]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"cache_tokens": 0}, "cache_tokens must be an integer >= 1, got 0"),
        ({"cache_tokens": 4}, "cache_tokens must be at most max_tokens = 3, got 4"),
        ({"cache_tokens": 2, "max_tokens": 1.5}, "max_tokens must be an integer >= 1, got 1.5"),
        ({"cache_tokens": 1, "coef": -1.0}, "coef must be a finite number >= 0, got -1.0"),
    ],
)
def test_numbers_out_of_range_are_refused(toy15: Task, options: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        wrappers.OverlongPenalty(RLHFEnv(toy15), **options)
