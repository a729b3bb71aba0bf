"""Objectives of pairs and rankings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from rlhf_env.rewards.feedback.records import ComparedResponses, Comparison, Ranking, Record
from rlhf_env.rewards.training.elements import Batch, Element
from rlhf_env.rewards.training.objective import Agreement
from rlhf_env.rewards.training.preference_losses import (
    davidson_losses,
    plackett_luce_loss,
    vote_losses,
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, kw_only=True, eq=False)
class PairTarget:
    """The pairs of one record."""

    first: Tensor
    """[P] number of the preferred response within the record."""
    second: Tensor
    """[P] number of the other."""
    votes: Tensor
    """[P, 3] votes for the first, for neither, and for the other."""
    margins: Tensor
    """[P] by how much the preferred should win."""


@dataclass(frozen=True, kw_only=True)
class PairObjective:
    """Bradley-Terry on all pairs of a record at once, however many they are.

    The loss of a record is the mean over its votes, plus ``centering_coef``·(c + r)² (each pair
    weighing as its votes do).
    """

    tie_strength: float | None = None
    """Davidson's ν; None counts a tie as half a win for each side."""
    centering_coef: float = 0.0
    """Weight of the pull of both scores towards zero."""

    def target(self, record: Record, tokenizer: PreTrainedTokenizerBase) -> PairTarget:
        """Return the pairs of a record."""
        assert isinstance(record, Comparison | Ranking | ComparedResponses)
        return pair_target(record)

    def losses(
        self, scores: Tensor, batch: Batch, elements: Sequence[Element[PairTarget]]
    ) -> Tensor:
        """Return one loss per element, [E]."""
        pairs = _flat(elements, batch.input_ids.device)
        final = batch.final(scores)
        chosen, rejected = final[pairs.first], final[pairs.second]
        votes = pairs.votes.to(final)
        if self.tie_strength is None:
            losses = vote_losses(chosen, rejected, votes, pairs.margins.to(final))
        else:
            losses = davidson_losses(chosen, rejected, votes, self.tie_strength)
        losses = losses + self.centering_coef * (chosen + rejected) ** 2
        totals = votes.sum(dim=1)
        sums = final.new_zeros(2, len(elements))
        weighted = torch.stack([losses * totals, totals])
        sums = sums.index_add(1, pairs.element, weighted)
        return sums[0] / sums[1]

    def agreement(
        self, scores: Tensor, batch: Batch, elements: Sequence[Element[PairTarget]]
    ) -> Agreement:
        """Return how many of the votes for a side the order of the scores agrees with."""
        return pair_agreement(batch.final(scores), _flat(elements, scores.device))


@dataclass(frozen=True, kw_only=True, eq=False)
class RankingTarget:
    """A ranking."""

    ranks: Tensor
    """[K] of the record's different responses; 1 is the best."""
    pairs: PairTarget
    """The same as pairs, by which agreement is counted."""


@dataclass(frozen=True, kw_only=True)
class PlackettLuceObjective:
    """The likelihood of whole rankings."""

    def target(self, record: Record, tokenizer: PreTrainedTokenizerBase) -> RankingTarget:
        """Return the ranks of a record; a response listed twice has its first rank."""
        assert isinstance(record, Ranking)
        ranks = dict(zip(reversed(record.responses), reversed(record.ranks), strict=True))
        ordered = [ranks[response] for response in dict.fromkeys(record.responses)]
        return RankingTarget(ranks=torch.tensor(ordered), pairs=pair_target(record))

    def losses(
        self, scores: Tensor, batch: Batch, elements: Sequence[Element[RankingTarget]]
    ) -> Tensor:
        """Return one loss per element, [E]."""
        split = batch.final(scores).split(list(batch.sizes))
        rows = zip(split, elements, strict=True)
        return torch.stack(
            [plackett_luce_loss(row, element.target.ranks.to(row.device)) for row, element in rows]
        )

    def agreement(
        self, scores: Tensor, batch: Batch, elements: Sequence[Element[RankingTarget]]
    ) -> Agreement:
        """Return how many of the ranked pairs the order of the scores agrees with."""
        rows = batch.final(scores).split(list(batch.sizes))
        return sum(
            (
                pair_agreement(row, element.target.pairs)
                for row, element in zip(rows, elements, strict=True)
            ),
            start=Agreement(agreeing=0.0, total=0.0),
        )


def pair_target(record: Comparison | Ranking | ComparedResponses) -> PairTarget:
    """Return the pairs of a record, its different responses numbered as they come."""
    numbers = {text: number for number, text in enumerate(dict.fromkeys(record.responses))}
    pairs = record.pairs
    votes = [(pair.votes.chosen, pair.votes.tie, pair.votes.rejected) for pair in pairs]
    return PairTarget(
        first=torch.tensor([numbers[pair.chosen] for pair in pairs]),
        second=torch.tensor([numbers[pair.rejected] for pair in pairs]),
        votes=torch.tensor(votes, dtype=torch.float64),
        margins=torch.tensor([pair.margin for pair in pairs], dtype=torch.float64),
    )


def pair_agreement(final: Tensor, pairs: PairTarget) -> Agreement:
    """Return how many votes for a side the scores [N] agree with.

    Ties and pairs of one and the same text take no side; equal scores agree with half the votes.
    """
    final = final.detach().cpu().double()
    first, second = pairs.first.cpu(), pairs.second.cpu()
    votes = pairs.votes.cpu() * (first != second)[:, None]
    difference = final[first] - final[second]
    agreeing = torch.heaviside(difference, torch.tensor(0.5, dtype=torch.float64))
    right = votes[:, 0] * agreeing + votes[:, 2] * (1 - agreeing)
    return Agreement(
        agreeing=float(right.sum()), total=float(votes[:, 0].sum() + votes[:, 2].sum())
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _FlatPairs(PairTarget):
    """The pairs of several elements, numbered through the batch; ``element`` [P] is whose."""

    element: Tensor


def _flat(elements: Sequence[Element[PairTarget]], device: torch.device) -> _FlatPairs:
    targets = [element.target for element in elements]
    counts = torch.tensor([len(target.first) for target in targets])
    sizes = torch.tensor([len(element.responses) for element in elements])
    element = torch.arange(len(elements)).repeat_interleave(counts)
    starts = (sizes.cumsum(0) - sizes)[element]
    return _FlatPairs(
        first=(torch.cat([target.first for target in targets]) + starts).to(device),
        second=(torch.cat([target.second for target in targets]) + starts).to(device),
        votes=torch.cat([target.votes for target in targets]).to(device),
        margins=torch.cat([target.margins for target in targets]).to(device),
        element=element.to(device),
    )
