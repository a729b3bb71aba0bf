"""Several rewards as one."""

from __future__ import annotations

import copy
import dataclasses
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from rlhf_env.rewards import Ensemble, PrefixReward
from rlhf_env.rewards.protocol import as_reward, score
from tests.toys import EOS, FavoriteTokenReward, tiny_llama_task, tiny_tokenizer

PROMPTS = [torch.tensor([2]), torch.tensor([3, 4])]
RESPONSES = [torch.tensor([5, 6, EOS]), torch.tensor([EOS])]


class Constant:
    """The same score for everything, prefixes too."""

    def __init__(self, value: float) -> None:
        self.value = value

    def __call__(self, prompts: list[Tensor], responses: list[Tensor]) -> Tensor:
        return torch.full((len(responses),), self.value)

    def prefix_scores(self, prompts: list[Tensor], responses: list[Tensor]) -> list[Tensor]:
        return [torch.full((len(ids) + 1,), self.value) for ids in responses]


class Lengths:
    def __call__(self, prompts: list[Tensor], responses: list[Tensor]) -> Tensor:
        return torch.tensor([float(len(ids)) for ids in responses])


def words(prompts: list[str], responses: list[str]) -> list[float]:
    return [float(len(text.split())) for text in responses]


ONE_TWO_FOUR = [Constant(1.0), Constant(2.0), Constant(4.0)]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, 2.333333),
        ({"rule": "mean"}, 2.333333),
        ({"rule": "worst"}, 1.0),
        ({"rule": "uncertainty"}, 1.555556),
        ({"rule": "uncertainty", "coef": 0.0}, 2.333333),
        ({"rule": "uncertainty", "coef": 1.0}, 0.777778),
    ],
)
def test_rules(options: dict[str, Any], expected: float) -> None:
    """Trap F16: the population's variance of 1, 2, 4 is 1.555556."""
    ensemble = Ensemble(ONE_TWO_FOUR, **options)
    scores = score(ensemble, PROMPTS, RESPONSES)
    assert scores.tolist() == pytest.approx([expected] * 2, abs=1e-6)
    assert isinstance(ensemble, PrefixReward)
    rows = ensemble.prefix_scores(PROMPTS, RESPONSES)
    assert [len(row) for row in rows] == [4, 2]
    assert torch.cat(rows).tolist() == pytest.approx([expected] * 6, abs=1e-6)


def test_disagreement() -> None:
    assert Ensemble(ONE_TWO_FOUR).disagreement(PROMPTS, RESPONSES).tolist() == pytest.approx(
        [1.247219] * 2, abs=1e-6
    )
    assert Ensemble([Constant(2.0)]).disagreement(PROMPTS, RESPONSES).tolist() == [0.0, 0.0]
    mixed = Ensemble([Lengths(), Constant(1.0)])
    assert mixed.disagreement(PROMPTS, RESPONSES).tolist() == [1.0, 0.0]


def test_prefixes_only_where_all_members_can() -> None:
    mixed = Ensemble([Constant(1.0), Lengths()])
    assert not isinstance(mixed, PrefixReward)
    assert not isinstance(as_reward(mixed, tiny_tokenizer()), PrefixReward)
    texts = as_reward(Ensemble([words, FavoriteTokenReward()]), tiny_tokenizer())
    assert isinstance(texts, PrefixReward)
    rows = texts.prefix_scores(PROMPTS, RESPONSES)
    assert torch.cat(rows).tolist() == pytest.approx([0.0, 0.95, 1.4, 1.35, 0.0, -0.05])


def test_functions_of_texts_get_their_tokenizer_from_the_task() -> None:
    ensemble = Ensemble([words, Constant(1.0)])
    with pytest.raises(ValueError, match=r"words \(member 0\) of the ensemble reads texts .* Task"):
        score(ensemble, PROMPTS, RESPONSES)
    task = dataclasses.replace(tiny_llama_task(), reward=ensemble)
    assert score(task.reward, PROMPTS, RESPONSES).tolist() == [1.5, 0.5]
    assert dataclasses.replace(task, kl_coef=0.0).reward is task.reward
    nested = as_reward(Ensemble([ensemble, Lengths()], rule="worst"), tiny_tokenizer())
    assert score(nested, PROMPTS, RESPONSES).tolist() == [1.5, 0.5]


def test_a_copy_is_independent() -> None:
    ensemble = Ensemble([Constant(1.0), Constant(3.0)])
    copied = copy.deepcopy(ensemble)
    copied.members[0].value = 5.0
    assert torch.cat(copied.prefix_scores(PROMPTS, RESPONSES)).tolist() == [4.0] * 6
    assert torch.cat(ensemble.prefix_scores(PROMPTS, RESPONSES)).tolist() == [2.0] * 6


@pytest.mark.parametrize(
    ("members", "options", "message"),
    [
        ([], {}, "members must hold at least one reward, got none"),
        (ONE_TWO_FOUR, {"rule": "wurst"}, "rule must be .*got 'wurst'"),
        (ONE_TWO_FOUR, {"coef": -1.0}, "coef must be a finite number >= 0"),
    ],
)
def test_bad_settings(members: list[Any], options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Ensemble(members, **options)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_member_without_finite_scores_is_named(value: float) -> None:
    ensemble = Ensemble([Constant(1.0), Constant(value)], rule="worst")
    with pytest.raises(ValueError, match=r"Constant \(member 1\) .* for response 0"):
        score(ensemble, PROMPTS, RESPONSES)
    with pytest.raises(ValueError, match=r"Constant \(member 1\) .* for response 0"):
        ensemble.prefix_scores(PROMPTS, RESPONSES)


def test_a_member_with_too_few_prefixes_is_named() -> None:
    short = Constant(1.0)
    short.prefix_scores = lambda prompts, responses: [torch.zeros(3)]  # type: ignore[method-assign]
    with pytest.raises(ValueError, match=r"Constant \(member 0\) must return .*\[4, 2\]"):
        Ensemble([short]).prefix_scores(PROMPTS, RESPONSES)


def test_a_member_that_fails_is_named() -> None:
    def broken(prompts: list[Tensor], responses: list[Tensor]) -> Tensor:
        raise KeyError("rating")

    with pytest.raises(KeyError) as caught:
        Ensemble([Constant(1.0), broken])(PROMPTS, RESPONSES)
    assert caught.value.__notes__ == ["raised by reward broken (member 1) on 2 responses"]
