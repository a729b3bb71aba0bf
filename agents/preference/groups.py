"""Compared responses to one prompt as token ids, and how records of feedback become them."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from rlhf_env.rewards.feedback.records import (
    ComparedResponses,
    Comparison,
    Ranking,
    Rating,
    Record,
    Thumb,
)

# The columns of rows that hold token ids: what is compared, and how.
_ID_COLUMNS = (
    ("chosen", "rejected"),
    ("completion", "label"),
    ("response", "rating"),
    ("responses", "ranking"),
)


@dataclass(frozen=True, kw_only=True, eq=False)
class ResponseGroup:
    """K responses to one prompt, and how they compare.

    Example:
        >>> ResponseGroup.pair([5, 7], [3, 4, 1], [6, 1])  # doctest: +SKIP
    """

    prompt: Any
    """A text, the messages of a chat, or token ids."""
    responses: tuple[Any, ...]
    """K texts, or K sequences of token ids with their EOS."""
    preference: Tensor
    """[K, K] probability that the response of the row is better than that of the column: 1/2 on
    the diagonal, NaN where the two were not compared. Of a single response, [1, 1] the probability
    that it is good; NaN if nobody said."""
    scores: tuple[float, ...] | None = None
    """[K] where the responses were rated; else None."""

    @classmethod
    def pair(
        cls, prompt: Any, first: Any, second: Any, p: float = 1.0, margin: float | None = None
    ) -> ResponseGroup:
        """Return two responses, of which the first is better with probability ``p``.

        Args:
            prompt: as in the class.
            first: a response.
            second: another.
            p: in [0, 1]; 1/2 is a tie.
            margin: the score of the first less that of the second.
        """
        matrix = torch.tensor([[0.5, p], [1.0 - p, 0.5]])
        scores = None if margin is None else (float(margin), 0.0)
        return cls(prompt=prompt, responses=(first, second), preference=matrix, scores=scores)

    @classmethod
    def single(
        cls, prompt: Any, response: Any, good: float = math.nan, score: float | None = None
    ) -> ResponseGroup:
        """Return one response with the probability that it is good, or with a score."""
        scores = None if score is None else (float(score),)
        matrix = torch.tensor([[float(good)]])
        return cls(prompt=prompt, responses=(response,), preference=matrix, scores=scores)

    @classmethod
    def ranked(
        cls, prompt: Any, responses: Sequence[Any], values: Sequence[float], *, scored: bool
    ) -> ResponseGroup:
        """Return K responses in the order of values, the higher the better; equal ones are ties.

        Args:
            prompt: as in the class.
            responses: K of them.
            values: [K].
            scored: whether the values are scores, whose differences mean something.
        """
        worth = torch.tensor(values, dtype=torch.float64)
        matrix = ((worth[:, None] - worth[None, :]).sign() / 2 + 0.5).float()
        return cls(
            prompt=prompt,
            responses=tuple(responses),
            preference=matrix,
            scores=tuple(map(float, values)) if scored else None,
        )

    def __len__(self) -> int:
        """Return the number of responses K."""
        return len(self.responses)

    @property
    def is_compared(self) -> bool:
        """Whether two of the responses were compared."""
        above = torch.ones_like(self.preference, dtype=torch.bool).triu(1)
        return bool((above & ~self.preference.isnan()).any())

    def singles(self) -> list[ResponseGroup]:
        """Return each response alone, good with the share of the others that it beats."""
        if len(self) == 1:
            return [self]
        others = self.preference.clone()
        others.fill_diagonal_(math.nan)
        scores = self.scores or (None,) * len(self)
        return [
            ResponseGroup.single(self.prompt, response, float(good), score)
            for response, good, score in zip(
                self.responses, others.nanmean(dim=1), scores, strict=True
            )
        ]


def groups_of(records: Sequence[Record], *, alone: bool) -> list[ResponseGroup]:
    """Return records of feedback as groups.

    Args:
        records: comparisons, rankings, compared responses, ratings or thumbs.
        alone: whether each response is learned from by itself. Otherwise ratings, and thumbs, of
            one prompt make a group: the higher rating is better, and a thumb up than a thumb down.
    """
    groups: list[ResponseGroup] = []
    judged: dict[str, list[Rating | Thumb]] = defaultdict(list)
    for record in records:
        if isinstance(record, Rating | Thumb) and not alone:
            judged[repr(record.prompt)].append(record)
        else:
            groups.append(_group(record))
    return groups + [_judged_group(group) for group in judged.values()]


def group_of_ids(row: Any, name: str) -> ResponseGroup:
    """Return a group, a pair (prompt, chosen, rejected), or a row of token ids as a group.

    Args:
        row: a `ResponseGroup`, a tuple of three, or a row with the columns of one of the forms
            prompt/chosen/rejected, prompt/completion/label, prompt/response/rating and
            prompt/responses/ranking.
        name: what error messages call it.

    Raises:
        ValueError: if it is none of these.
    """
    if isinstance(row, ResponseGroup):
        return row
    if isinstance(row, tuple | list) and len(row) == 3:
        return ResponseGroup.pair(*row)
    columns = row if isinstance(row, Mapping) and "prompt" in row else {}
    form = next((form for form in _ID_COLUMNS if set(form) <= set(columns)), None)
    if form is None:
        forms = ", ".join("/".join(("prompt", *form)) for form in _ID_COLUMNS)
        raise ValueError(
            f"{name} must be (prompt, chosen, rejected), a ResponseGroup, or a row with the "
            f"columns {forms}, got {row!r:.80}"
        )
    prompt, (first, second) = columns["prompt"], (columns[column] for column in form)
    if form == ("chosen", "rejected"):
        return ResponseGroup.pair(prompt, first, second, 0.5 if columns.get("tie") else 1.0)
    if form == ("completion", "label"):
        return ResponseGroup.single(prompt, first, float(second))
    if form == ("response", "rating"):
        return ResponseGroup.single(prompt, first, score=second)
    return ResponseGroup.ranked(prompt, first, [-float(rank) for rank in second], scored=False)


def without(group: ResponseGroup, is_equal: Tensor) -> ResponseGroup:
    """Return a group in which equal responses count as not compared.

    Args:
        group: K responses.
        is_equal: [K, K] bool; its diagonal is ignored.
    """
    apart = is_equal & ~torch.eye(len(group), dtype=torch.bool)
    return replace(group, preference=group.preference.masked_fill(apart, math.nan))


def _group(record: Record) -> ResponseGroup:
    prompt = list(record.prompt) if isinstance(record.prompt, tuple) else record.prompt
    if isinstance(record, Comparison):
        margin = record.margin or None
        return ResponseGroup.pair(
            prompt, record.chosen, record.rejected, _share(record), margin=margin
        )
    if isinstance(record, Ranking):
        worth = [-rank for rank in record.ranks]
        return ResponseGroup.ranked(prompt, record.responses, worth, scored=False)
    if isinstance(record, ComparedResponses):
        return _compared(prompt, record)
    if isinstance(record, Rating):
        return ResponseGroup.single(prompt, record.response, score=record.rating)
    if isinstance(record, Thumb):
        return ResponseGroup.single(prompt, record.response, float(record.is_good))
    raise ValueError(
        "preferences must be comparisons, rankings, ratings or thumbs, got marked spans; train a "
        "reward model on them"
    )


def _share(pair: Comparison) -> float:
    return (pair.votes.chosen + pair.votes.tie / 2) / pair.votes.total


def _compared(prompt: Any, record: ComparedResponses) -> ResponseGroup:
    """Return the responses with the share of votes of each pair, over all its comparisons."""
    texts = list(dict.fromkeys(record.responses))
    won, asked = torch.zeros(len(texts), len(texts)), torch.zeros(len(texts), len(texts))
    for pair in record.pairs:
        first, second = texts.index(pair.chosen), texts.index(pair.rejected)
        share, total = _share(pair), pair.votes.total
        won[first, second] += share * total
        won[second, first] += (1 - share) * total
        asked[first, second] += total
        asked[second, first] += total
    preference = won / asked
    preference.fill_diagonal_(0.5)
    return ResponseGroup(prompt=prompt, responses=tuple(texts), preference=preference)


def _judged_group(records: Sequence[Rating | Thumb]) -> ResponseGroup:
    """Return the ratings, or thumbs, of one prompt as a group."""
    if len(records) == 1:
        return _group(records[0])
    prompt = list(records[0].prompt) if isinstance(records[0].prompt, tuple) else records[0].prompt
    values = [float(r.rating if isinstance(r, Rating) else r.is_good) for r in records]
    is_rated = isinstance(records[0], Rating)
    group = ResponseGroup.ranked(prompt, [r.response for r in records], values, scored=is_rated)
    if is_rated:
        return group
    # Two thumbs up do not say that both responses are equally good.
    return without(group, group.preference == 0.5)
