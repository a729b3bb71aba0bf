"""Reward functions get what their parameters name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from rlhf_env.rewards.protocol import as_reward, check_reward
from rlhf_env.rewards.signature import Signature
from rlhf_env.task import Task


def exchanged(completions: Any, prompts: Any) -> Any:
    return prompts, completions


def trl(prompts: Any, completions: Any, **columns: Any) -> Any:
    return prompts, completions


def trl_without_prompts(completions: Any, **columns: Any) -> Any:
    return columns["prompts"], completions


def by_name_only(*, responses: Any, prompts: Any) -> Any:
    return prompts, responses


def with_a_default(responses: Any, weight: float = 1.0, prompts: Any = None) -> Any:
    return prompts, responses


def other_names(questions: Any, answers: Any) -> Any:
    return questions, answers


def any_number(*both: Any) -> Any:
    return both


@pytest.mark.parametrize(
    "function",
    [
        exchanged,
        trl,
        trl_without_prompts,
        by_name_only,
        with_a_default,
        other_names,
        any_number,
        partial(with_a_default, weight=2.0),
    ],
)
def test_prompts_are_prompts(function: Callable[..., Any]) -> None:
    by_position, by_name = Signature.of(function).arguments(["p"], ["r"], {})
    assert function(*by_position, **by_name) == (["p"], ["r"])


def test_a_task_pays_what_the_function_means(toy15: Task) -> None:
    def longest(completions: list[str], prompts: list[str]) -> list[float]:
        return [float(len(text.split())) for text in completions]

    reward = as_reward(longest, toy15.tokenizer)
    ids = [toy15.prompts[0].new_tensor(row) for row in ([1, 2, 1], [2])]
    assert reward([toy15.prompts[0]] * 2, ids).tolist() == [3.0, 1.0]


def needs_a_column(completions: Any, answer: Any, **columns: Any) -> Any: ...


def needs_a_third(prompts: Any, responses: Any, answer: Any) -> Any: ...


@pytest.mark.parametrize("function", [needs_a_column, needs_a_third])
def test_more_than_prompts_and_responses(function: Callable[..., Any]) -> None:
    with pytest.raises(TypeError, match=r"nothing but prompts and .*; give answer a default"):
        check_reward(function)


def needs_prompts_alone(prompts: Any) -> Any: ...


def needs_nothing() -> Any: ...


def needs_one_by_position(prompts: Any, *, answer: Any = None) -> Any: ...


@pytest.mark.parametrize("function", [needs_prompts_alone, needs_nothing, needs_one_by_position])
def test_less_than_prompts_and_responses(function: Callable[..., Any]) -> None:
    with pytest.raises(TypeError, match=r"must take prompts and responses, got needs_.*\("):
        check_reward(function)


@pytest.mark.parametrize("function", [max, lambda *both: both[1], lambda a, b=None: b])
def test_any_way_to_take_two_will_do(function: Callable[..., Any]) -> None:
    check_reward(function)
