"""How well scores agree with human comparisons of pairs of responses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from scipy.stats import spearmanr

from rlhf_env.rewards.feedback.agreement import Annotators, annotators
from rlhf_env.rewards.feedback.prompt_and_response import Prompt, prompt_text
from rlhf_env.rewards.feedback.records import Comparison, PairRecord
from rlhf_env.rewards.metrics.calibration import Calibration, pair_calibration
from rlhf_env.rewards.metrics.estimates import share
from rlhf_env.rewards.metrics.ranking import Ordering, orderings
from rlhf_env.rewards.training.preference_losses import vote_losses
from rlhf_env.statistics import Estimate, Floats

TextScores: TypeAlias = Callable[[Sequence[Prompt], Sequence[str]], Sequence[float]]


@dataclass(frozen=True, kw_only=True)
class PairFigures:
    """Scores against comparisons.

    Accuracies are over the decided pairs: those of two different responses of which one has more
    votes. Equal scores count as half right.
    """

    pairs: int
    """All pairs."""
    decided_pairs: int
    """Those that accuracies are over."""
    equal_scores: int
    """Decided pairs whose scores are equal."""
    accuracy: Estimate
    """How often the preferred response has the higher score."""
    loss: float
    """Bradley-Terry loss per vote in nats, over all pairs; ln 2 = 0.693 is chance level."""
    calibration: Calibration
    """Of σ(score difference), on the decided pairs."""
    longer_wins: Estimate
    """Accuracy of a judge who prefers the response with more characters."""
    accuracy_where_shorter_preferred: Estimate | None
    """Accuracy on the pairs that this judge gets wrong; None if there are none."""
    accuracy_where_longer_preferred: Estimate | None
    """Accuracy on the pairs that this judge gets right; None if there are none."""
    length_correlation: float
    """Spearman's of score difference and length difference within pairs."""
    annotators: Annotators | None = None
    """Where some pair has several votes."""
    ordering: Ordering | None = None
    """Where some prompt has three responses or more."""


def pair_figures(score: TextScores, records: Sequence[PairRecord]) -> PairFigures:
    """Judge scores by pairs, rankings and compared responses.

    Args:
        score: of finished responses, given as texts.
        records: that nothing was fitted to.

    Raises:
        ValueError: if no pair is decided.
    """
    scores = _scores(score, records)
    pairs = [
        (pair, rows) for record, rows in zip(records, scores, strict=True) for pair in record.pairs
    ]
    differences = np.array([rows[pair.chosen] - rows[pair.rejected] for pair, rows in pairs])
    votes = np.array([[p.votes.chosen, p.votes.tie, p.votes.rejected] for p, _ in pairs])
    prompts = [prompt_text(pair.prompt) for pair, _ in pairs]
    losses = vote_losses(
        torch.from_numpy(differences), torch.zeros(len(pairs)), torch.from_numpy(votes)
    )
    decided = _decided([pair for pair, _ in pairs], differences)
    lengths, right = decided.lengths, decided.right
    return PairFigures(
        pairs=len(pairs),
        decided_pairs=len(right),
        equal_scores=int((decided.differences == 0).sum()),
        accuracy=_known(decided.share_where(np.full(len(right), True))),
        loss=float(losses.mean()),
        calibration=pair_calibration(decided.differences),
        longer_wins=_known(share((np.sign(lengths) + 1) / 2, decided.prompts)),
        accuracy_where_shorter_preferred=decided.share_where(lengths < 0),
        accuracy_where_longer_preferred=decided.share_where(lengths > 0),
        length_correlation=length_correlation(decided.differences, lengths),
        annotators=annotators(votes, differences, prompts),
        ordering=orderings(records, scores),
    )


def length_correlation(differences: Floats, lengths: Floats) -> float:
    """Return Spearman's correlation of score and length differences, each pair in both orders.

    Args:
        differences: [P] of scores.
        lengths: [P] of lengths, in the same order.

    Returns:
        0 where all scores, or all lengths, of pairs are equal.
    """
    if not differences.any() or not lengths.any():
        return 0.0
    scores, sizes = (np.concatenate([own, -own]) for own in (differences, lengths))
    return float(spearmanr(scores, sizes)[0])  # type: ignore[arg-type]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Decided:
    """Decided pairs, the preferred response first."""

    differences: Floats
    """[P] of scores."""
    lengths: Floats
    """[P] of characters."""
    prompts: list[str]
    """[P] the prompt of each."""

    @property
    def right(self) -> Floats:
        return (np.sign(self.differences) + 1) / 2

    def share_where(self, kept: np.ndarray) -> Estimate | None:
        prompts = [prompt for prompt, keep in zip(self.prompts, kept, strict=True) if keep]
        return share(self.right[kept], prompts)


def _decided(pairs: Sequence[Comparison], differences: Floats) -> _Decided:
    rows = [
        (pair, difference if pair.votes.chosen > pair.votes.rejected else -difference)
        for pair, difference in zip(pairs, differences, strict=True)
        if pair.is_decided and not pair.is_identical
    ]
    if not rows:
        raise ValueError(
            f"data must hold a pair of which one side has more votes, got {len(pairs)} without"
        )
    lengths = [_length_difference(pair) for pair, _ in rows]
    return _Decided(
        differences=np.array([difference for _, difference in rows]),
        lengths=np.array(lengths, dtype=np.float64),
        prompts=[prompt_text(pair.prompt) for pair, _ in rows],
    )


def _length_difference(pair: Comparison) -> int:
    difference = len(pair.chosen) - len(pair.rejected)
    return difference if pair.votes.chosen > pair.votes.rejected else -difference


def _scores(score: TextScores, records: Sequence[PairRecord]) -> list[dict[str, float]]:
    """Return the score of each different response of each record; all are scored in one call."""
    texts = [list(dict.fromkeys(record.responses)) for record in records]
    prompts = [record.prompt for record, own in zip(records, texts, strict=True) for _ in own]
    scores = iter(score(prompts, [text for own in texts for text in own]))
    return [{text: float(next(scores)) for text in own} for own in texts]


def _known(estimate: Estimate | None) -> Estimate:
    assert estimate is not None, "there is a decided pair"
    return estimate
