"""Baselines without a neural network that a reward model has to beat: words.

The strength of a penalty is chosen by cross-validation in which a prompt is in one fold. The
baseline for ratings is `rlhf_env.rewards.text_regression.TextRegressionReward`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_matrix, vstack
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold

from rlhf_env.rewards.feedback.data import split_key
from rlhf_env.rewards.feedback.prompt_and_response import Prompt, prompt_text
from rlhf_env.rewards.feedback.records import Comparison, MarkedResponse, Thumb
from rlhf_env.rewards.metrics.single import response_marks
from rlhf_env.statistics import Floats
from rlhf_env.text.text_ids import plain_ids

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

STRENGTHS = (0.001, 0.01, 0.1, 1.0)
FOLDS = 3


@dataclass(frozen=True, kw_only=True, eq=False)
class WordScores:
    """A score that adds up over a response's words, fitted by a logistic regression."""

    words: CountVectorizer
    """Counts them."""
    weights: Floats
    """[W] what each adds."""

    @classmethod
    def of_pairs(cls, pairs: Sequence[Comparison]) -> WordScores:
        """Fit Bradley-Terry: the log-odds of a preference are the difference of two scores.

        Votes weigh, and a tie is half a vote for each side.

        Raises:
            ValueError: if there are too few prompts or no two responses share a word.
        """
        pairs = [pair for pair in pairs if not pair.is_identical]
        words = _words([text for pair in pairs for text in pair.responses])
        difference = csr_matrix(
            words.transform([pair.chosen for pair in pairs])
            - words.transform([pair.rejected for pair in pairs])
        )
        won = np.array([pair.votes.chosen + pair.votes.tie / 2 for pair in pairs])
        lost = np.array([pair.votes.rejected + pair.votes.tie / 2 for pair in pairs])
        # Each pair in both orders: without an intercept they are equivalent, and a fold always has
        # both outcomes.
        rows = csr_matrix(vstack([difference, -difference, difference, -difference]))
        model = _fitted(
            LogisticRegression(fit_intercept=False, max_iter=1000),
            rows,
            np.repeat([1, 0, 0, 1], len(pairs)),
            weights=np.concatenate([won, won, lost, lost]) / 2,
            groups=[prompt_text(pair.prompt) for pair in pairs] * 4,
        )
        return cls(words=words, weights=model.coef_[0])

    @classmethod
    def of_thumbs(cls, records: Sequence[Thumb]) -> WordScores:
        """Fit the log-odds of approval; the intercept is left out of the scores.

        Raises:
            ValueError: if there are too few prompts or no two responses share a word.
        """
        words = _words([record.response for record in records])
        model = _fitted(
            LogisticRegression(class_weight="balanced", max_iter=1000),
            csr_matrix(words.transform([record.response for record in records])),
            np.array([int(record.is_good) for record in records]),
            weights=np.ones(len(records)),
            groups=[split_key(record) for record in records],
        )
        return cls(words=words, weights=model.coef_[0])

    def __call__(self, prompts: Sequence[Prompt], responses: Sequence[str]) -> list[float]:
        """Return the score of each response; the prompts are not judged."""
        counts = csr_matrix(self.words.transform(responses))
        return [float(score) for score in counts @ self.weights]


@dataclass(frozen=True, kw_only=True, eq=False)
class NeighborMarks:
    """How suspicious a token is by itself, its two neighbors, and its place in the response."""

    tokenizer: PreTrainedTokenizerBase
    """Splits responses into tokens."""
    traits: CountVectorizer
    """Counts what is known of a token."""
    model: LogisticRegression
    """The fitted logistic regression."""

    @classmethod
    def fit(
        cls, records: Sequence[MarkedResponse], tokenizer: PreTrainedTokenizerBase
    ) -> NeighborMarks:
        """Fit to marked responses.

        Raises:
            ValueError: if there are too few prompts, or no token is marked.
        """
        marks = [response_marks(record, tokenizer) for record in records]
        rows = [trait for record in records for trait in _traits(record.response, tokenizer)]
        traits = CountVectorizer(token_pattern=r"\S+", min_df=2)
        counts = csr_matrix(traits.fit_transform(rows))
        groups = [split_key(r) for r, own in zip(records, marks, strict=True) for _ in own]
        model = _fitted(
            LogisticRegression(max_iter=1000),
            counts,
            np.concatenate(marks).astype(int),
            weights=np.ones(len(rows)),
            groups=groups,
        )
        return cls(tokenizer=tokenizer, traits=traits, model=model)

    def __call__(self, prompts: Sequence[Prompt], responses: Sequence[str]) -> list[list[float]]:
        """Return the log-odds of a mark for each token of each response."""
        found = []
        for response in responses:
            counts = self.traits.transform(_traits(response, self.tokenizer))
            found.append(self.model.decision_function(counts).tolist())
        return found


def _traits(response: str, tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Return the features of each token: itself, its neighbors, and its tenth of the response."""
    ids = plain_ids(response, "response", tokenizer, add_special_tokens=False)
    around = [-1, *ids, -1]
    return [
        f"this={own} before={around[place]} after={around[place + 2]} "
        f"tenth={10 * place // len(ids)}"
        for place, own in enumerate(ids)
    ]


def _words(texts: Sequence[str]) -> CountVectorizer:
    try:
        return CountVectorizer(min_df=2).fit(texts)
    except ValueError as error:
        raise ValueError(
            f"responses must share words, got {len(texts)} of which hardly two have a word in "
            "common; add more"
        ) from error


def _fitted(
    model: LogisticRegression,
    rows: csr_matrix,
    outcomes: np.ndarray,
    *,
    weights: Floats,
    groups: Sequence[str],
) -> LogisticRegression:
    """Return a regression with the strength that forecasts other prompts best."""
    if len(set(groups)) < FOLDS:
        raise ValueError(f"data must hold at least {FOLDS} prompts, got {len(set(groups))}")
    search = GridSearchCV(
        model, {"C": list(STRENGTHS)}, scoring="neg_log_loss", cv=GroupKFold(FOLDS)
    )
    search.fit(rows, outcomes, sample_weight=weights, groups=groups)
    return search.best_estimator_
