"""Whatever a user calls a reward answers with finite scores, or is told what it did wrong."""

from __future__ import annotations

import functools
import math
import os
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rlhf_env.rewards import PrefixReward, Reward
from rlhf_env.rewards.protocol import TextReward, as_reward, as_scores, score
from tests.toys import EOS, FavoriteTokenReward, tiny_tokenizer

PROMPTS = [torch.tensor([2]), torch.tensor([3, 4])]
RESPONSES = [torch.tensor([5, 6, EOS]), torch.tensor([EOS])]


def words(prompts: list[str], responses: list[str]) -> list[float]:
    return [
        len(text.split()) + 10 * len(prompt.split())
        for prompt, text in zip(prompts, responses, strict=True)
    ]


def unannotated(prompts, responses):  # type: ignore[no-untyped-def]
    return [len(text) for text in responses]


def lengths(prompts: list[Tensor], responses: list[Tensor]) -> Tensor:
    return torch.tensor([len(ids) for ids in responses])


def scaled_words(prompts: list[str], responses: list[str], scale: float) -> list[float]:
    return [scale * len(text.split()) for text in responses]


class Judge:
    def __call__(self, prompts: list[str], responses: list[str]) -> list[float]:
        return [float("w5" in text) for text in responses]

    def method(self, prompts: list[str], responses: list[str]) -> list[float]:
        return self(prompts, responses)


class IdJudge(nn.Module):
    def forward(self, prompts: list[Tensor], responses: list[Tensor]) -> Tensor:
        return torch.stack([ids.sum() for ids in responses])


@pytest.mark.parametrize(
    ("reward", "expected"),
    [
        (words, [12.0, 20.0]),
        (unannotated, [5.0, 0.0]),
        (lambda prompts, responses: [text == "" for text in responses], [0.0, 1.0]),
        (lengths, [3.0, 1.0]),
        (functools.partial(scaled_words, scale=0.5), [1.0, 0.0]),
        (functools.partial(lengths), [3.0, 1.0]),
        (Judge(), [1.0, 0.0]),
        (Judge().method, [1.0, 0.0]),
        (IdJudge(), [12.0, 1.0]),
        (FavoriteTokenReward(), [0.7, -0.1]),
    ],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
def test_what_it_takes(reward: Any, expected: list[float]) -> None:
    """Texts without special tokens, or ids with them."""
    made: Reward = as_reward(reward, tiny_tokenizer())
    scores = score(made, PROMPTS, RESPONSES)
    assert scores.tolist() == pytest.approx(expected)
    assert scores.dtype == torch.float32
    assert as_reward(made, tiny_tokenizer()) is made


def test_prefix_scores_of_texts() -> None:
    reward = as_reward(words, tiny_tokenizer())
    assert isinstance(reward, PrefixReward)
    prefix_scores = reward.prefix_scores(PROMPTS, RESPONSES)
    assert [row.tolist() for row in prefix_scores] == [[10.0, 11.0, 12.0, 12.0], [20.0, 20.0]]


@pytest.mark.parametrize("reward", [None, 3, "words", [words]])
def test_what_cannot_be_called(reward: Any) -> None:
    with pytest.raises(TypeError, match="reward must be a function or an object with __call__"):
        as_reward(reward, tiny_tokenizer())


@pytest.mark.parametrize(
    ("answer", "got"),
    [
        (None, "NoneType"),
        ([1.0, None], "None for response 1 of the batch"),
        ([None, None], "None for response 0 of the batch"),
        ([1.0, math.nan], "nan for response 1"),
        ([math.inf, 1.0], "inf for response 0"),
        ([1.0, -math.inf], "-inf for response 1"),
        ([1.0, 1e39], "inf for response 1"),
        (["1", "2"], "'1' for response 0"),
        ("12", "str"),
        ({0: 1.0}, "dict"),
        (1.0, r"shape \[\]"),
        ([1.0], r"shape \[1\]"),
        ([1.0, 2.0, 3.0], r"shape \[3\]"),
        ([[1.0], [2.0]], r"shape \[2, 1\]"),
        ([[1.0], [2.0, 3.0]], r"\[2.0, 3.0\] for response 1"),
        (np.array(["a", "b"]), "ndarray"),
        (torch.tensor([1 + 2j, 1j]), "Tensor"),
    ],
    ids=repr,
)
def test_bad_answers(answer: Any, got: str) -> None:
    def careless(prompts: list[str], responses: list[str]) -> Any:
        return answer

    with pytest.raises(
        ValueError, match=rf"reward careless must return 2 finite numbers, got .*{got}"
    ):
        score(as_reward(careless, tiny_tokenizer()), PROMPTS, RESPONSES)


@pytest.mark.parametrize(
    "answer",
    [
        [1, 0.5],
        (1, 0.5),
        np.array([1.0, 0.5]),
        torch.tensor([1.0, 0.5], dtype=torch.bfloat16),
        torch.tensor([1.0, 0.5], requires_grad=True),
        [np.float64(1), np.float32(0.5)],
        [torch.tensor(1.0), torch.tensor(0.5)],
        [True, 0.5],
    ],
    ids=repr,
)
def test_good_answers(answer: Any) -> None:
    scores = as_scores(answer, 2, "test")
    assert scores.tolist() == [1.0, 0.5]
    assert not scores.requires_grad


def test_exceptions_keep_their_kind_and_name_the_reward() -> None:
    def fragile(prompts: list[str], responses: list[str]) -> list[float]:
        raise KeyError("rating")

    with pytest.raises(KeyError, match="rating") as caught:
        score(as_reward(fragile, tiny_tokenizer()), PROMPTS, RESPONSES)
    assert caught.value.__notes__ == ["raised by reward fragile on 2 responses"]


def test_arguments_are_copies() -> None:
    def vandal(prompts: list[Tensor], responses: list[Tensor]) -> Tensor:
        for ids in (*prompts, *responses):
            ids.zero_()
        return torch.zeros(2)

    score(as_reward(vandal, tiny_tokenizer()), PROMPTS, RESPONSES)
    assert PROMPTS[1].tolist() == [3, 4]
    assert RESPONSES[0].tolist() == [5, 6, EOS]


def test_name() -> None:
    assert TextReward(words, tiny_tokenizer()).name == "words"
    assert TextReward(functools.partial(scaled_words, scale=1), tiny_tokenizer()).name


def test_a_sparse_tensor_is_not_scores() -> None:
    def sparse(prompts: list[Tensor], responses: list[Tensor]) -> Tensor:
        return torch.ones(len(responses)).to_sparse()

    with pytest.raises(ValueError, match="reward sparse must return 1 finite numbers, got Tensor"):
        score(sparse, [torch.tensor([1])], [torch.tensor([2])])


def test_the_working_directory_is_left_alone_where_it_is_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It belongs to every thread, and a call for each batch would be felt."""
    monkeypatch.setattr(os, "chdir", lambda path: pytest.fail("changed"))
    ones = score(lambda p, r: torch.ones(len(r)), [torch.tensor([1])], [torch.tensor([2])])
    assert ones.tolist() == [1.0]
