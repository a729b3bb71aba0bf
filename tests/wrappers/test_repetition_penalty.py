from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import wrappers
from rlhf_env.env import RLHFEnv
from rlhf_env.task import Task
from tests.toys import EOS, tiny_llama_task
from tests.wrappers.episodes import paid
from wrappers.repetition_penalty import repetition_terms

TASK = tiny_llama_task(vocab_size=8, horizon=7)


@pytest.mark.parametrize(
    ("n", "response", "terms"),
    [
        (1, [5, 2, 5, 5, EOS], [0, 0, -0.5, -0.5, 0]),
        (2, [5, 2, 3, 5, 2, EOS], [0, 0, 0, 0, -0.5, 0]),
        # The two 2-grams of 4 4 4 overlap.
        (2, [4, 4, 4, EOS], [0, 0, -0.5, 0]),
        (3, [5, 2, 5, 2, 5, 2, EOS], [0, 0, 0, 0, -0.5, -0.5, 0]),
        (7, [5, 2, EOS], [0, 0, 0]),
    ],
)
def test_a_repeated_n_gram_costs_at_its_last_token(
    n: int, response: list[int], terms: list[float]
) -> None:
    env = wrappers.RepetitionPenalty(RLHFEnv(TASK), coef=0.5, n=n)
    assert paid(env, response, "repetition") == terms


def test_what_the_prompt_says_may_be_said_once_more() -> None:
    env = wrappers.RepetitionPenalty(RLHFEnv(TASK), coef=0.5, n=1)
    env.reset(options={"prompt_index": 2})
    assert env.step(2)[4]["reward_terms"]["repetition"] == 0.0
    assert env.step(2)[4]["reward_terms"]["repetition"] == -0.5


@given(response=st.lists(st.integers(0, 3), min_size=1, max_size=12), n=st.integers(1, 4))
def test_no_token_is_paid_for_a_later_one(response: list[int], n: int) -> None:
    terms = repetition_terms(torch.tensor(response), 1.0, n)
    for t in range(1, len(response)):
        assert torch.equal(repetition_terms(torch.tensor(response[:t]), 1.0, n), terms[:t])


def test_n_must_be_a_count(toy15: Task) -> None:
    with pytest.raises(ValueError, match="n must be an integer >= 1, got 0"):
        wrappers.RepetitionPenalty(RLHFEnv(toy15), coef=1.0, n=0)
