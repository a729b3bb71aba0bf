"""Labels of fresh responses: which of two responses to one prompt is better, with what probability.

They come from the task's score (three rules), from a judge, or from people. Only the rule "sampled"
draws, from a random stream of its own. A label matrix [B, K] is that of `Rollout.preference`.
"""

from __future__ import annotations

import math
import reprlib
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor

from rlhf_env.checks import did_you_mean
from rlhf_env.rewards.protocol import takes_texts
from rlhf_env.rollout import Rollout

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

LABEL_RULES = ("soft", "sampled", "hard")
_WORDS = {"a": 1.0, "b": 0.0, "tie": 0.5}

Judge = Callable[[list[Tensor], list[Tensor], list[Tensor]], Any]
"""``judge(prompts, a, b)`` on P vectors of token ids each -> P probabilities that a is better."""
Labeler = Callable[[Rollout, np.random.Generator], Tensor]
"""``labeler(rollout, generator)`` on B episodes -> their label matrix [B, K]."""


def make_labeler(labels: Any, tokenizer: PreTrainedTokenizerBase) -> Labeler:
    """Return what labels rollouts.

    Args:
        labels: a rule for scores r: "soft", P(a) = σ(r_a − r_b); "sampled", a draw with that
            probability (Bradley and Terry 1952); "hard", 1, 0, or 1/2 for a tie. Or a judge: a
            function ``f(prompts, a, b)``, of texts unless it is annotated with Tensor, or an object
            with ``compare(prompts, a, b)`` such as `rlhf_env.rewards.PairwiseJudge`. It answers
            with one probability that a is better, or "a", "b" or "tie", for each pair.
        tokenizer: the policy's.

    Raises:
        ValueError: if it is neither.
    """
    if isinstance(labels, str):
        if labels not in LABEL_RULES:
            raise ValueError(
                f"labels must be one of {', '.join(LABEL_RULES)} or a judge "
                f"f(prompts, a, b), got {labels!r}{did_you_mean(labels, LABEL_RULES)}"
            )
        if labels == "hard":
            warnings.warn(
                'labels="hard" has no fixed point: the better response of every pair wins for '
                "certain, so the policy drifts to the best response alone whatever beta is; "
                'choose "soft" or "sampled"',
                stacklevel=3,
            )
        return lambda rollout, generator: label_by_score(rollout, labels, generator)
    judge = as_judge(labels, tokenizer)
    return lambda rollout, generator: label_by_judge(rollout, judge)


def label_by_score(rollout: Rollout, rule: str, generator: np.random.Generator) -> Tensor:
    """Return the label matrix by ``rollout.score``.

    A response that is alone is compared with one of score 0.

    Args:
        rollout: B episodes, the rows of a group consecutive.
        rule: one of `LABEL_RULES`.
        generator: draws one number for each label under "sampled", and none under the others.
    """
    scores = rollout.score.double().cpu()
    first, second = compared_rows(rollout.group)
    is_single = not len(first)
    margins = scores if is_single else scores[first] - scores[second]
    wins = (margins.sign() + 1.0) / 2.0 if rule == "hard" else margins.sigmoid()
    if rule == "sampled":
        wins = sampled_wins(margins, generator).double()
    if is_single:
        return wins.to(rollout.score)[:, None]
    return preference_matrix(rollout.group, first, second, wins)


def sampled_wins(margins: Tensor, generator: np.random.Generator) -> Tensor:
    """Return who wins, [P] bool, drawn with P(win) = σ(margin) (Bradley and Terry 1952).

    Args:
        margins: [P] float64 score of each pair's first response less that of its second.
        generator: draws one number for each pair.
    """
    return torch.from_numpy(generator.random(len(margins))) < margins.sigmoid()


def label_by_judge(rollout: Rollout, judge: Judge) -> Tensor:
    """Return the label matrix by a judge; equal responses are a tie that it is not asked about.

    Raises:
        ValueError: if no group holds two responses, or an answer is neither a probability nor one
            of "a", "b" and "tie".
    """
    first, second = compared_rows(rollout.group)
    if not len(first):
        raise ValueError("a judge compares responses, got one to each prompt; set group_size=2")
    prompts, responses = rollout.prompts(), rollout.responses()
    asked = [prompts[row] for row in first.tolist()]
    a, b = ([responses[row] for row in rows.tolist()] for rows in (first, second))
    wins = win_probabilities(judge, asked, a, b)
    return preference_matrix(rollout.group, first, second, wins)


def win_probabilities(
    judge: Judge, prompts: list[Tensor], a: list[Tensor], b: list[Tensor]
) -> Tensor:
    """Return the probability that a is better than b, [P] float64, as a judge has it.

    Equal responses are a tie that it is not asked about.

    Args:
        judge: as `as_judge` makes it.
        prompts: P vectors of token ids.
        a: one response to each.
        b: the other.

    Raises:
        ValueError: if an answer is neither a probability nor one of "a", "b" and "tie".
    """
    differ = [i for i, pair in enumerate(zip(a, b, strict=True)) if not torch.equal(*pair)]
    wins = torch.full((len(prompts),), 0.5, dtype=torch.float64)
    if differ:
        shown = ([each[i] for i in differ] for each in (prompts, a, b))
        wins[differ] = _probabilities(judge(*shown), len(differ))
    return wins


def compared_rows(group: Tensor) -> tuple[Tensor, Tensor]:
    """Return the rows of all pairs within groups, [P] and [P]; the first is the smaller.

    Args:
        group: [B] the group's number of each row.
    """
    group = group.cpu()
    is_pair = (group[:, None] == group[None, :]).triu(diagonal=1)
    first, second = is_pair.nonzero().unbind(dim=1)
    return first, second


def preference_matrix(group: Tensor, first: Tensor, second: Tensor, wins: Tensor) -> Tensor:
    """Return the matrix of `Rollout.preference`, [B, K] float32, K the size of the largest group.

    Args:
        group: [B] the group's number of each row, the rows of a group consecutive.
        first: [P] rows.
        second: [P] other rows of the same groups; a pair that is not named stays NaN.
        wins: [P] probability that the first is better than the second.
    """
    _, members, sizes = group.cpu().unique_consecutive(return_inverse=True, return_counts=True)
    rows = torch.arange(len(members))
    place = rows - (sizes.cumsum(dim=0) - sizes)[members]
    matrix = torch.full((len(rows), int(sizes.max())), math.nan)
    matrix[rows, place] = 0.5
    matrix[first, place[second]] = wins.float()
    matrix[second, place[first]] = 1.0 - wins.float()
    return matrix.to(group.device)


def as_judge(labels: Any, tokenizer: PreTrainedTokenizerBase) -> Judge:
    """Return a judge of token ids for what a user calls a judge."""
    if hasattr(labels, "compare"):
        knows = getattr(labels, "with_tokenizer", lambda _: labels)(tokenizer)
        return knows.compare
    if not callable(labels):
        raise ValueError(
            f"labels must be one of {', '.join(LABEL_RULES)} or a judge f(prompts, a, b), "
            f"got {type(labels).__name__}"
        )
    if not takes_texts(labels):
        return cast(Judge, labels)

    def judge(*each: list[Tensor]) -> Any:
        return labels(*([_text(ids, tokenizer) for ids in rows] for rows in each))

    return judge


def _text(ids: Tensor, tokenizer: PreTrainedTokenizerBase) -> str:
    return cast(str, tokenizer.decode(ids, skip_special_tokens=True))


def _probabilities(answers: Any, count: int) -> Tensor:
    """Return a judge's answers as numbers, [P] float64."""
    words = isinstance(answers, list | tuple) and any(isinstance(one, str) for one in answers)
    try:
        read = [_WORDS[one] for one in answers] if words else answers
        found = torch.as_tensor(read, dtype=torch.float64).detach().cpu()
    except (KeyError, TypeError, ValueError, RuntimeError):
        found = torch.full((0,), math.nan)
    if found.shape != (count,) or not ((found >= 0.0) & (found <= 1.0)).all():
        raise ValueError(
            f"the judge must answer {count} pairs with a probability in [0, 1] that a is better, "
            f'or "a", "b" or "tie", for each, got {reprlib.repr(answers)}'
        )
    return found
