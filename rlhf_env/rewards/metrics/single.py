"""How well scores agree with human judgments of single responses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from scipy.special import expit
from scipy.stats import spearmanr
from sklearn.metrics import average_precision_score, log_loss, roc_auc_score

from rlhf_env.rewards.feedback.data import split_key
from rlhf_env.rewards.feedback.prompt_and_response import Prompt
from rlhf_env.rewards.feedback.records import MarkedResponse, Rating, Thumb
from rlhf_env.rewards.metrics.calibration import Calibration, calibration
from rlhf_env.rewards.metrics.estimates import resampled, share
from rlhf_env.rewards.metrics.held_out import held_out_figures
from rlhf_env.rewards.training.single_objectives import TokenObjective
from rlhf_env.statistics import Estimate, Floats

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from rlhf_env.rewards.metrics.pair import TextScores

TokenScores: TypeAlias = Callable[[Sequence[Prompt], Sequence[str]], Sequence[Sequence[float]]]
# Of the tokens' ranks: one resample sorts all tokens.
_TOKEN_RESAMPLES = 200


@dataclass(frozen=True, kw_only=True)
class RatingFigures:
    """Scores against ratings, on the ratings' own scale."""

    responses: int
    """Rated responses."""
    pearson_r: Estimate
    """Correlation, with Fisher's interval."""
    spearman_r: float
    """Rank correlation."""
    sign_accuracy: Estimate
    """How often score and rating lie on the same side of neutral, with Wilson's interval."""
    length_correlation: float
    """Spearman's of score and number of characters."""
    rating_length_correlation: float
    """Spearman's of rating and number of characters."""


@dataclass(frozen=True, kw_only=True)
class ThumbFigures:
    """Scores, read as log-odds of approval, against thumbs."""

    responses: int
    """Judged responses."""
    accuracy: Estimate
    """How often the sign of the score matches the thumb; half for a score of 0."""
    auc: Estimate
    """How often a thumb up has a higher score than a thumb down."""
    loss: float
    """Logistic loss in nats."""
    calibration: Calibration
    """Of σ(score)."""


@dataclass(frozen=True, kw_only=True)
class MarkFigures:
    """Suspicions of single tokens against the parts that people marked as wrong."""

    tokens: int
    """Tokens of the responses."""
    marked_share: float
    """How many of them people marked: the average precision of chance."""
    auc: Estimate
    """How often a marked token is more suspicious than another one; 0.5 by chance."""
    average_precision: Estimate
    """Area under precision over recall."""


def rating_figures(
    score: TextScores, records: Sequence[Rating], neutral: float = 0.0
) -> RatingFigures:
    """Judge scores by ratings.

    Args:
        score: of finished responses, given as texts.
        records: that nothing was fitted to.
        neutral: the rating that is neither good nor bad.

    Raises:
        ValueError: if there are too few ratings, or they do not differ.
    """
    scores = _scores(score, records)
    ratings = np.array([record.rating for record in records], dtype=np.float64)
    lengths = np.array([len(record.response) for record in records], dtype=np.float64)
    found = held_out_figures(scores, ratings, neutral)
    return RatingFigures(
        responses=found.texts,
        pearson_r=_estimate(found.pearson_r, found.pearson_interval),
        spearman_r=_spearman(scores, ratings),
        sign_accuracy=_estimate(found.sign_accuracy, found.sign_interval),
        length_correlation=_spearman(scores, lengths),
        rating_length_correlation=_spearman(ratings, lengths),
    )


def thumb_figures(score: TextScores, records: Sequence[Thumb]) -> ThumbFigures:
    """Judge scores by thumbs.

    Args:
        score: of finished responses, given as texts.
        records: that nothing was fitted to.

    Raises:
        ValueError: if all thumbs point the same way.
    """
    scores = _scores(score, records)
    is_good = np.array([float(record.is_good) for record in records])
    if np.ptp(is_good) == 0:
        raise ValueError(f"thumbs must point both ways, got {len(records)} that point one way")
    groups = [split_key(record) for record in records]
    accuracy = share((np.sign(scores) * (2 * is_good - 1) + 1) / 2, groups)
    assert accuracy is not None
    chances = expit(scores)
    return ThumbFigures(
        responses=len(records),
        accuracy=accuracy,
        auc=_ranked(roc_auc_score, is_good, scores, groups),
        loss=float(log_loss(is_good, chances)),
        calibration=calibration(chances, is_good),
    )


def mark_figures(
    suspicions: TokenScores,
    records: Sequence[MarkedResponse],
    tokenizer: PreTrainedTokenizerBase,
) -> MarkFigures:
    """Judge suspicions by marks.

    Args:
        suspicions: of each token of finished responses, given as texts; higher is worse.
        records: that nothing was fitted to.
        tokenizer: splits responses into tokens; an end token is left out.

    Raises:
        ValueError: if no token is marked, all are, or suspicions are of other tokens.
    """
    marks = [response_marks(record, tokenizer) for record in records]
    found = suspicions([r.prompt for r in records], [r.response for r in records])
    counts = [(len(row), len(own)) for row, own in zip(found, marks, strict=True)]
    if any(got != expected for got, expected in counts):
        raise ValueError(
            f"suspicions must be one per token of a response, got {sum(got for got, _ in counts)} "
            f"for {sum(expected for _, expected in counts)} tokens; use the model's tokenizer"
        )
    is_marked = np.concatenate(marks)
    if np.ptp(is_marked) == 0:
        raise ValueError(
            f"data must hold tokens with and without mark, got {is_marked.sum():g} "
            f"marked of {len(is_marked)}"
        )
    values = np.concatenate([np.asarray(row, dtype=np.float64) for row in found])
    groups = [split_key(r) for r, own in zip(records, marks, strict=True) for _ in own]
    return MarkFigures(
        tokens=len(is_marked),
        marked_share=float(is_marked.mean()),
        auc=_ranked(roc_auc_score, is_marked, values, groups),
        average_precision=_ranked(average_precision_score, is_marked, values, groups),
    )


def response_marks(record: MarkedResponse, tokenizer: PreTrainedTokenizerBase) -> Floats:
    """Return 1 for each token of a response that people marked, else 0, [T] without end token."""
    marks = TokenObjective().target(record, tokenizer).double().numpy()
    return marks if tokenizer.eos_token_id is None else marks[:-1]


def _scores(score: TextScores, records: Sequence[Rating] | Sequence[Thumb]) -> Floats:
    answer = score([record.prompt for record in records], [record.response for record in records])
    return np.array([float(value) for value in answer])


def _ranked(
    statistic: Callable[[Floats, Floats], float],
    truth: Floats,
    values: Floats,
    groups: Sequence[str],
) -> Estimate:
    def of_rows(rows: np.ndarray) -> float:
        drawn = truth[rows]
        return float(statistic(drawn, values[rows])) if np.ptp(drawn) else float("nan")

    return resampled(of_rows, groups, resamples=_TOKEN_RESAMPLES)


def _estimate(value: float, interval: tuple[float, float]) -> Estimate:
    return Estimate(value=value, low=interval[0], high=interval[1])


def _spearman(first: Floats, second: Floats) -> float:
    # Equal values order nothing; the library would warn and answer NaN.
    if not np.ptp(first) or not np.ptp(second):
        return 0.0
    return float(spearmanr(first, second)[0])  # type: ignore[arg-type]
