"""A reward learned from rated texts: ridge regression on weighted words and word pairs.

Reading ratings, and setting some aside, is in `rlhf_env.rewards.feedback.rated_texts`, and how well
a fit does on them in `rlhf_env.rewards.metrics.held_out`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from rlhf_env.extras import importing
from rlhf_env.files import parse_json, write_atomically
from rlhf_env.rewards.feedback.rated_texts import RatedTexts

with importing("rewards"):
    from scipy.sparse import csr_matrix
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import Ridge
    from sklearn.model_selection import GridSearchCV, GroupKFold
    from sklearn.pipeline import Pipeline

ALPHAS = (0.3, 1.0, 3.0, 10.0)
FOLDS = 3
FORMAT = "text_regression/1"
MIN_TEXTS = 10
# Contractions stay whole, and ! and ? count as words.
WORD = r"(?u)\b\w[\w']*|[!?]"


@dataclass(frozen=True, kw_only=True, eq=False)
class TextRegressionReward:
    """Forecasts a person's rating of a text from its words and pairs of neighboring words.

    Its `score` is a function of texts and goes wherever a reward is accepted::

        reward = TextRegressionReward.fit(read_rated_texts("ratings.jsonl", "text", "mean"))
        task = Task.from_pretrained("model", reward=reward.score, prompts="prompts.txt")
    """

    terms: tuple[str, ...]
    """The W words and word pairs that count."""
    idf: NDArray[np.float64]
    """[W] inverse document frequency of each, in nats."""
    weights: NDArray[np.float64]
    """[W] how much of the rating each brings."""
    intercept: float
    """The rating of a text without any of them."""
    alpha: float
    """Strength of the ridge penalty, as cross-validation chose it."""
    neutral: float
    """The rating that is neither good nor bad."""

    @classmethod
    def fit(cls, ratings: RatedTexts, alphas: Sequence[float] = ALPHAS) -> TextRegressionReward:
        """Learn from rated texts; the strength of the penalty is chosen by cross-validation.

        Within a fold, words and their frequencies come from the other folds only, and equal texts
        are in one fold.

        Args:
            ratings: at least ten texts, with ratings that differ.
            alphas: the ridge penalties to choose from.

        Raises:
            ValueError: if there is too little to learn from.
        """
        distinct = len(set(ratings.texts))
        if distinct < MIN_TEXTS:
            raise ValueError(
                f"ratings must hold at least {MIN_TEXTS} different texts, got {distinct}; add more"
            )
        if ratings.values.min() == ratings.values.max():
            raise ValueError(
                f"ratings must differ, got {ratings.values[0]:g} for all {len(ratings)} texts; "
                "name the field that holds the ratings"
            )
        texts = list(ratings.texts)
        try:
            alpha = _cross_validated_alpha(ratings, alphas)
            words = _vectorizer()
            counts = words.fit_transform(texts)
        except ValueError as error:
            if "vocabulary" not in str(error) and "no terms" not in str(error):
                raise
            raise ValueError(
                f"ratings must share words, got {len(texts)} texts of which hardly two have a "
                "word in common; add more"
            ) from error
        ridge = Ridge(alpha=alpha).fit(counts, ratings.values)
        return cls(
            terms=tuple(map(str, words.get_feature_names_out())),
            idf=np.asarray(words.idf_, dtype=np.float64),
            weights=np.asarray(ridge.coef_, dtype=np.float64),
            intercept=float(ridge.intercept_),
            alpha=alpha,
            neutral=ratings.neutral,
        )

    def predict(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Return the forecast rating of each text, [B]."""
        if not texts:
            return np.zeros(0)
        counts = cast(csr_matrix, self._words.transform(texts))
        return counts @ self.weights + self.intercept

    def score(self, prompts: list[str], responses: list[str]) -> list[float]:
        """Return the forecast rating of each response; the prompts are not judged."""
        return self.predict(responses).tolist()

    def save(self, path: str | Path) -> None:
        """Write one safetensors file, whose header holds the words as JSON, as a whole or not.

        Raises:
            OSError: if it cannot be written; an old file is then untouched.
        """
        header = {
            "format": FORMAT,
            "terms": self.terms,
            "intercept": self.intercept,
            "alpha": self.alpha,
            "neutral": self.neutral,
        }
        content = save(
            {"idf": self.idf, "weights": self.weights},
            metadata={"text_regression": json.dumps(header)},
        )
        write_atomically(Path(path), content)

    @classmethod
    def load(cls, path: str | Path) -> TextRegressionReward:
        """Return what `save` wrote.

        Raises:
            ValueError: if there is no such file, or it is damaged or of another kind.
        """
        expected = f"a text regression must be a file that save() wrote, got {str(path)!r}"
        try:
            with safe_open(path, framework="numpy") as file:
                header = parse_json((file.metadata() or {})["text_regression"])
                idf, weights = file.get_tensor("idf"), file.get_tensor("weights")
            return cls._from_parts(header, idf, weights)
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            reason = " ".join(str(error).split())[:120]
            raise ValueError(f"{expected}: {type(error).__name__}: {reason}") from error

    @classmethod
    def _from_parts(cls, header: dict[str, Any], idf: Any, weights: Any) -> TextRegressionReward:
        if header["format"] != FORMAT:
            raise ValueError(f"format must be {FORMAT}, got {header['format']!r}")
        terms = tuple(map(str, header["terms"]))
        if not (idf.shape == weights.shape == (len(terms),)):
            raise ValueError(f"{len(terms)} words, {idf.shape} idf and {weights.shape} weights")
        if not (np.isfinite(idf).all() and np.isfinite(weights).all()):
            raise ValueError("weights must be finite")
        numbers = {name: float(header[name]) for name in ("intercept", "alpha", "neutral")}
        return cls(terms=terms, idf=idf, weights=weights, **numbers)

    @cached_property
    def _words(self) -> TfidfVectorizer:
        words = _vectorizer(self.terms)
        words.idf_ = self.idf
        return words


def _vectorizer(terms: tuple[str, ...] | None = None) -> TfidfVectorizer:
    """Return the counter of words and word pairs that occur in two texts, or of given ones."""
    return TfidfVectorizer(
        ngram_range=(1, 2), min_df=2, sublinear_tf=True, token_pattern=WORD, vocabulary=terms
    )


def _cross_validated_alpha(ratings: RatedTexts, alphas: Sequence[float]) -> float:
    texts = list(ratings.texts)
    search = GridSearchCV(
        Pipeline([("words", _vectorizer()), ("ridge", Ridge())]),
        {"ridge__alpha": list(alphas)},
        scoring="neg_mean_squared_error",
        cv=GroupKFold(FOLDS),
        refit=False,
        error_score="raise",  # type: ignore[arg-type]
    )
    search.fit(texts, ratings.values, groups=texts)
    return float(search.best_params_["ridge__alpha"])
