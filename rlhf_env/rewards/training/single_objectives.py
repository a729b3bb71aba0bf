"""Objectives of responses that were judged one at a time: thumbs, ratings, marked tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from rlhf_env.rewards.feedback.records import MarkedResponse, Rating, Record, Thumb
from rlhf_env.rewards.feedback.spans import span_token_labels
from rlhf_env.rewards.training.elements import Batch, Element, place_of
from rlhf_env.rewards.training.objective import Agreement
from rlhf_env.rewards.training.preference_losses import (
    ordinal_losses,
    rating_losses,
    thumb_losses,
    token_losses,
)
from rlhf_env.text.responses import response_ids

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_MAX_LEVELS = 20


@dataclass(frozen=True, kw_only=True)
class ThumbObjective:
    """The logistic loss: a score is the log-odds of a thumb up."""

    def target(self, record: Record, tokenizer: PreTrainedTokenizerBase) -> Tensor:
        """Return whether the thumb is up, []."""
        assert isinstance(record, Thumb)
        return torch.tensor(record.is_good)

    def losses(self, scores: Tensor, batch: Batch, elements: Sequence[Element[Tensor]]) -> Tensor:
        """Return one loss per element, [E]."""
        return thumb_losses(batch.final(scores), _stacked(elements, scores))

    def agreement(
        self, scores: Tensor, batch: Batch, elements: Sequence[Element[Tensor]]
    ) -> Agreement:
        """Return how many thumbs point to where the sign of the score does."""
        return _sides(batch.final(scores), _stacked(elements, scores).double() - 0.5)


@dataclass(frozen=True, kw_only=True)
class RatingObjective:
    """The squared difference of score and rating."""

    mean: float
    """Of the ratings trained on; the score of an uninformative response."""
    spread: float
    """Their standard deviation, the unit of the loss."""
    neutral: float
    """The rating that is neither good nor bad."""

    def target(self, record: Record, tokenizer: PreTrainedTokenizerBase) -> Tensor:
        """Return the rating, []."""
        assert isinstance(record, Rating)
        return torch.tensor(float(record.rating))

    def losses(self, scores: Tensor, batch: Batch, elements: Sequence[Element[Tensor]]) -> Tensor:
        """Return one loss per element, [E]."""
        return rating_losses(batch.final(scores), _stacked(elements, scores), self.spread)

    def agreement(
        self, scores: Tensor, batch: Batch, elements: Sequence[Element[Tensor]]
    ) -> Agreement:
        """Return how many scores lie on their rating's side of neutral."""
        ratings = _stacked(elements, scores)
        return _sides(batch.final(scores) - self.neutral, ratings - self.neutral)


@dataclass(frozen=True, kw_only=True, eq=False)
class OrdinalObjective:
    """The likelihood of a rating's level; only the order of the levels counts."""

    levels: Tensor
    """[K] the different ratings trained on, rising; another counts as the nearest."""
    thresholds: Tensor
    """[K − 1] log-odds of a rating up to each level, for an uninformative response."""
    neutral: int
    """The number of the first level that is good."""

    @classmethod
    def of(cls, ratings: Tensor, neutral: float) -> OrdinalObjective:
        """Return the objective whose thresholds fit ratings [N] at score 0.

        Raises:
            ValueError: if there are too many levels for each to be learned.
        """
        levels, counts = ratings.unique(return_counts=True)
        if len(levels) > _MAX_LEVELS:
            raise ValueError(
                f"ordinal ratings must have at most {_MAX_LEVELS} levels, got {len(levels)}; "
                'choose the loss "squared"'
            )
        shares = counts.cumsum(0)[:-1].double() / counts.sum()
        good = int((levels <= neutral).sum())
        return cls(
            levels=levels,
            thresholds=shares.logit().float(),
            neutral=min(max(good, 1), len(levels) - 1),
        )

    def target(self, record: Record, tokenizer: PreTrainedTokenizerBase) -> Tensor:
        """Return the number of the level nearest to the rating, []."""
        assert isinstance(record, Rating)
        return (self.levels - float(record.rating)).abs().argmin()

    def losses(self, scores: Tensor, batch: Batch, elements: Sequence[Element[Tensor]]) -> Tensor:
        """Return one loss per element, [E]."""
        levels, thresholds = _stacked(elements, scores), self.thresholds.to(scores)
        return ordinal_losses(batch.final(scores), levels, thresholds)

    def agreement(
        self, scores: Tensor, batch: Batch, elements: Sequence[Element[Tensor]]
    ) -> Agreement:
        """Return how many scores find the good levels as likely as their rating does."""
        is_good = (_stacked(elements, scores) >= self.neutral).double()
        return _sides(batch.final(scores) - self.thresholds[self.neutral - 1], is_good - 0.5)


@dataclass(frozen=True, kw_only=True)
class TokenObjective:
    """The logistic loss of every token of a response: a score is the log-odds that it is fine.

    The end token counts as fine.
    """

    def target(self, record: Record, tokenizer: PreTrainedTokenizerBase) -> Tensor:
        """Return which tokens of the response are marked, [T] bool.

        Raises:
            ValueError: if the response spells out a special token, whose place is not known.
        """
        assert isinstance(record, MarkedResponse)
        spans = [{"start": s.start, "end": s.end, "type": s.type} for s in record.spans]
        types = sorted({span.type for span in record.spans})
        labels = span_token_labels(record.response, spans, tokenizer, types)
        count = len(response_ids(record.response, "response", tokenizer, place_of(record)))
        if count - len(labels) not in (0, 1):
            raise ValueError(
                "marked responses must spell out no special token, got "
                f"{record.response!r:.60}; remove it"
            )
        return torch.cat([labels > 0, torch.zeros(count - len(labels), dtype=torch.bool)])

    def losses(self, scores: Tensor, batch: Batch, elements: Sequence[Element[Tensor]]) -> Tensor:
        """Return one loss per element, [E]."""
        return token_losses(scores, _marks(batch, elements), batch.is_response)

    def agreement(
        self, scores: Tensor, batch: Batch, elements: Sequence[Element[Tensor]]
    ) -> Agreement:
        """Return at how many tokens the sign of the score matches the mark."""
        signs = 0.5 - _marks(batch, elements).double()
        return _sides(scores[batch.is_response], signs[batch.is_response])


def _stacked(elements: Sequence[Element[Tensor]], like: Tensor) -> Tensor:
    return torch.stack([element.target for element in elements]).to(like.device)


def _marks(batch: Batch, elements: Sequence[Element[Tensor]]) -> Tensor:
    """Return the marks at their places in a batch, [N, L]."""
    marks = torch.zeros_like(batch.is_response)
    marks[batch.is_response] = torch.cat([e.target for e in elements]).to(marks.device)
    return marks


def _sides(scores: Tensor, judgments: Tensor) -> Agreement:
    """Return how often both have the same sign; where the judgment is 0 nothing is counted."""
    scores, judgments = scores.detach().cpu().double(), judgments.detach().cpu().double()
    agreeing = torch.where(scores == 0, 0.5, (scores > 0).eq(judgments > 0).double())
    taken = judgments != 0
    return Agreement(agreeing=float(agreeing[taken].sum()), total=float(taken.sum()))
