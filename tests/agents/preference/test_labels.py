"""Labels of fresh responses: what the rules, judges and people make of them."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from torch import Tensor

from agents.preference.labels import (
    LABEL_RULES,
    Labeler,
    compared_rows,
    label_by_score,
    make_labeler,
    preference_matrix,
)
from rlhf_env.rewards.judge.model import Judge
from rlhf_env.rewards.judge.reward import PairwiseJudge
from rlhf_env.rollout import Rollout
from rlhf_env.task import Task
from tests.rlhf_env.rewards.judge.test_reward import COMPARED, more_good
from tests.rlhf_env.toy_judge import ScriptedLM, judge_tokenizer

SCORES = st.floats(-50.0, 50.0, width=32)


def rollout(scores: list[float], group: list[int] | None = None, tokens: Any = None) -> Rollout:
    """Episodes of a one-token prompt and a two-token response, all different by default."""
    count = len(scores)
    if tokens is None:
        tokens = [[1, 2 + i, 1] for i in range(count)]
    nothing = torch.zeros(count, 3)
    return Rollout(
        tokens=torch.tensor(tokens),
        is_action=torch.tensor([[False, True, True]]).expand(count, 3),
        logprobs=nothing,
        ref_logprobs=nothing,
        rewards=nothing,
        reward_terms={"score": nothing, "kl": nothing},
        score=torch.tensor(scores, dtype=torch.float32),
        terminated=torch.ones(count, dtype=torch.bool),
        group=torch.tensor(group or [0] * count),
        prompt_index=torch.zeros(count, dtype=torch.int64),
        decision=torch.tensor([[-1, 0, 1]]).expand(count, 3),
    )


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def labeler(labels: Any, task: Task) -> Labeler:
    return make_labeler(labels, task.tokenizer)


def test_soft_labels_are_bradley_terry() -> None:
    """sigmoid(1) = 0.731059, sigmoid(3) = 0.952574, sigmoid(2) = 0.880797."""
    found = label_by_score(rollout([3.0, 2.0, 0.0]), "soft", rng())
    expected = [
        [0.5, 0.731059, 0.952574],
        [0.268941, 0.5, 0.880797],
        [0.047426, 0.119203, 0.5],
    ]
    torch.testing.assert_close(found, torch.tensor(expected), atol=1e-6, rtol=0)


def test_hard_labels_and_ties() -> None:
    found = label_by_score(rollout([1.0, 1.0, 2.0]), "hard", rng())
    assert found.tolist() == [[0.5, 0.5, 0.0], [0.5, 0.5, 0.0], [1.0, 1.0, 0.5]]


def test_groups_are_compared_within_themselves() -> None:
    """A smaller group leaves NaN where it has no response."""
    found = label_by_score(rollout([0.0, 1.0, 5.0, 3.0, 4.0], [7, 7, 7, 2, 2]), "hard", rng())
    assert found[3:].isnan().tolist() == [[False, False, True]] * 2
    assert found[3:, :2].tolist() == [[0.5, 0.0], [1.0, 0.5]]
    assert found[0].tolist() == [0.5, 0.0, 0.0]


@pytest.mark.parametrize(("rule", "expected"), [("soft", 0.731059), ("hard", 1.0)])
def test_a_response_alone_gets_a_thumb(rule: str, expected: float) -> None:
    found = label_by_score(rollout([1.0, 0.0], [0, 1]), rule, rng())
    assert found.tolist() == [[pytest.approx(expected, abs=1e-6)], [0.5]]


@hypothesis_settings(deadline=None)
@given(
    scores=st.lists(SCORES, min_size=2, max_size=9),
    rule=st.sampled_from(LABEL_RULES),
    seed=st.integers(0, 2**32 - 1),
)
def test_what_every_rule_keeps(scores: list[float], rule: str, seed: int) -> None:
    """P(a over b) + P(b over a) = 1, 1/2 against itself, one draw per seed."""
    found = label_by_score(rollout(scores), rule, rng(seed))
    again = label_by_score(rollout(scores), rule, rng(seed))
    assert torch.equal(found, again)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found + found.T, torch.ones_like(found), atol=1e-6, rtol=0)
    assert (found.diagonal() == 0.5).all()
    assert ((found >= 0.0) & (found <= 1.0)).all()
    if rule != "sampled":
        order = torch.randperm(len(scores), generator=torch.Generator().manual_seed(seed))
        moved = label_by_score(rollout([scores[i] for i in order.tolist()]), rule, rng(seed))
        torch.testing.assert_close(moved, found[order][:, order])
        better = torch.tensor(scores)[:, None] > torch.tensor(scores)[None, :]
        assert (found[better] >= 0.5).all()


def test_draws_have_the_soft_probability() -> None:
    """2,000 labels of margin 1 are 0.731059 on average, up to five standard errors of 0.0099."""
    scores, group = [1.0, 0.0] * 2000, torch.arange(2000).repeat_interleave(2).tolist()
    tokens = [[1, 2, 1]] * 4000
    found = label_by_score(rollout(scores, group, tokens), "sampled", rng())
    wins = found[::2, 1]
    assert set(wins.tolist()) == {0.0, 1.0}
    assert abs(float(wins.mean()) - 0.731059) < 5 * 0.0099


def test_another_seed_draws_other_labels() -> None:
    scores = [0.0] * 24
    first, second = (label_by_score(rollout(scores), "sampled", rng(seed)) for seed in (0, 1))
    assert not torch.equal(first, second)


@pytest.mark.parametrize("rule", ["soft", "hard"])
def test_only_sampled_labels_draw(rule: str) -> None:
    generator = rng()
    label_by_score(rollout([0.0, 1.0]), rule, generator)
    assert generator.random() == rng().random()


def test_hard_labels_warn_when_they_are_chosen(toy15: Task) -> None:
    with pytest.warns(UserWarning, match="no fixed point"):
        make = labeler("hard", toy15)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make(rollout([0.0, 1.0]), rng())
        labeler("soft", toy15)
        labeler("sampled", toy15)


def test_a_judge_of_texts_is_asked_once_per_pair_that_differs() -> None:
    """Its answers fill both sides; equal responses are a tie it never sees."""
    asked: list[tuple[str, str, str]] = []

    def judge(prompts: list[str], a: list[str], b: list[str]) -> list[float]:
        asked.extend(zip(prompts, a, b, strict=True))
        return [0.9, 0.25]

    words = judge_tokenizer()
    tokens = [[ids := words.vocab["cold"], words.vocab["good"], 1]] * 2
    tokens = [*tokens, [ids, words.vocab["bad"], 1]]
    found = make_labeler(judge, words)(rollout([0.0] * 3, tokens=tokens), rng())
    assert asked == [("cold", "good", "bad")] * 2
    expected = torch.tensor([[0.5, 0.5, 0.9], [0.5, 0.5, 0.25], [0.1, 0.75, 0.5]])
    torch.testing.assert_close(found, expected)


def test_a_judge_of_ids(toy15: Task) -> None:
    def judge(prompts: list[Tensor], a: list[Tensor], b: list[Tensor]) -> Tensor:
        return torch.tensor([float(x.sum() > y.sum()) for x, y in zip(a, b, strict=True)])

    found = labeler(judge, toy15)(rollout([0.0, 0.0]), rng())
    assert found.tolist() == [[0.5, 0.0], [1.0, 0.5]]


def test_people_answer_in_words(toy15: Task) -> None:
    """As in a file of `scripts/rounds.py`."""
    found = labeler(lambda prompts, a, b: ["a", "tie", "b"], toy15)(rollout([0.0] * 3), rng())
    assert found.tolist() == [[0.5, 1.0, 0.5], [0.0, 0.5, 0.0], [0.5, 1.0, 0.5]]


def test_a_language_model_judges() -> None:
    """`PairwiseJudge` sees both orders; the policy's tokenizer is the task's."""
    words = judge_tokenizer()
    duel = PairwiseJudge(
        judge=Judge(model=ScriptedLM(more_good), tokenizer=words), template=COMPARED
    )
    good, bad, end = (words.vocab[word] for word in ("good", "bad", "</s>"))
    tokens = [[words.vocab["cold"], word, end] for word in (good, bad)]
    found = make_labeler(duel, words)(rollout([0.0, 0.0], tokens=tokens), rng())
    assert found.tolist() == [[0.5, 1.0], [0.0, 0.5]]


@pytest.mark.parametrize(
    "answer", [[0.5], [0.5, 1.5], [0.5, math.nan], ["a", "c"], ["a", 0.5], None, [[0.5, 0.5]]]
)
def test_answers_that_are_refused(answer: Any, toy15: Task) -> None:
    make = labeler(lambda prompts, a, b: answer, toy15)
    with pytest.raises(ValueError, match=r"the judge must answer 2 pairs .*, got "):
        make(rollout([0.0] * 4, [0, 0, 1, 1]), rng())


def test_settings_that_are_refused(toy15: Task) -> None:
    with pytest.raises(ValueError, match="got 'softt'; did you mean 'soft'"):
        labeler("softt", toy15)
    with pytest.raises(ValueError, match=r"or a judge f\(prompts, a, b\), got int"):
        labeler(3, toy15)
    with pytest.raises(ValueError, match="set group_size=2"):
        labeler(lambda prompts, a, b: [], toy15)(rollout([0.0, 0.0], [0, 1]), rng())


def test_pairs_that_are_not_compared_stay_unknown() -> None:
    group = torch.tensor([4, 4, 4, 1])
    first, second = compared_rows(group)
    assert list(zip(first.tolist(), second.tolist(), strict=True)) == [(0, 1), (0, 2), (1, 2)]
    found = preference_matrix(group, first[1:2], second[1:2], torch.tensor([0.75]))
    assert found.nan_to_num(-1.0).tolist() == [
        [0.5, -1.0, 0.75],
        [-1.0, 0.5, -1.0],
        [0.25, -1.0, 0.5],
        [0.5, -1.0, -1.0],
    ]
