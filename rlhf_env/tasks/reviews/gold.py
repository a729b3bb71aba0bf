"""The gold reward of the reviews task: computed from the words, not learned.

A good review names the asked dish and the asked aspect, holds opinions of the asked sentiment
only, does not repeat itself, is short, and stops. This module uses no model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from rlhf_env.tasks.reviews.vocabulary import (
    ASPECTS,
    DISHES,
    EOS,
    NEGATIVE,
    POSITIVE,
    SENTIMENTS,
    opinion_words,
    vocabulary,
)

# Mean and standard deviation of the raw score over reviews that the committed language model
# writes for the training prompts; constants of the objective, so a rebuild keeps its scale.
RAW_MEAN = 0.96
RAW_SD = 1.49


@dataclass(frozen=True, kw_only=True)
class GoldWeights:
    """The weight of each quality of a review, in raw points."""

    topic: float = 1.0
    """Share of the dishes (and, once more, of the aspects) named that are the asked one."""
    sentiment: float = 1.5
    """(asked − opposite) / all opinion words, from −1 to 1."""
    repetition: float = 3.0
    """Share of words that end a pair of words already written; lost."""
    length: float = 0.1
    """Lost per word beyond ``free_words``."""
    free_words: int = 16
    """Words that cost nothing."""
    unfinished: float = 1.5
    """Lost if the review does not end with the end token."""


class GoldReward:
    """The true objective over token ids: mean 0 and spread 1 on the reference's reviews.

    Any ids are judged. A prompt that asks for no dish, aspect or sentiment (the first of each
    counts) earns nothing for it; what follows an end token inside a response counts as words.
    """

    def __init__(self, weights: GoldWeights | None = None) -> None:
        """Judge with ``weights``, the task's own by default."""
        self.weights = weights or GoldWeights()
        self.words = vocabulary()
        self.opinions = {sentiment: frozenset(opinion_words(sentiment)) for sentiment in SENTIMENTS}

    def __call__(self, prompts: list[Tensor], responses: list[Tensor]) -> Tensor:
        """Return one score per response, [B] float32."""
        rows = zip(prompts, responses, strict=True)
        scores = [self._score(self._texts(asked), self._texts(said)) for asked, said in rows]
        return torch.tensor(scores, dtype=torch.float32)

    def prefix_scores(self, prompts: list[Tensor], responses: list[Tensor]) -> list[Tensor]:
        """Return the score of every prefix, [len + 1] per response; all but the last unfinished."""
        scores: list[Tensor] = []
        for prompt, response in zip(prompts, responses, strict=True):
            asked, said = self._texts(prompt), self._texts(response)
            prefixes = [self._score(asked, said[:t]) for t in range(len(said) + 1)]
            scores.append(torch.tensor(prefixes, dtype=torch.float32))
        return scores

    def raw(self, asked: Sequence[str], said: Sequence[str]) -> float:
        """Return the score of a review in raw points.

        Args:
            asked: words of the prompt.
            said: words of the response, with its end token if it has one.
        """
        weights = self.weights
        is_finished = bool(said) and said[-1] == EOS
        words = said[:-1] if is_finished else said
        return (
            weights.topic * (_share(asked, words, DISHES) + _share(asked, words, ASPECTS))
            + weights.sentiment * self._sentiment(asked, words)
            - weights.repetition * _repeated(words)
            - weights.length * max(0, len(words) - weights.free_words)
            - weights.unfinished * (not is_finished)
        )

    def _score(self, asked: Sequence[str], said: Sequence[str]) -> float:
        return (self.raw(asked, said) - RAW_MEAN) / RAW_SD

    def _sentiment(self, asked: Sequence[str], words: Sequence[str]) -> float:
        wanted = next((word for word in asked if word in SENTIMENTS), None)
        if wanted is None:
            return 0.0
        unwanted = NEGATIVE if wanted == POSITIVE else POSITIVE
        right = sum(word in self.opinions[wanted] for word in words)
        wrong = sum(word in self.opinions[unwanted] for word in words)
        return (right - wrong) / max(1, right + wrong)

    def _texts(self, ids: Tensor) -> list[str]:
        return [self.words[index] for index in ids.tolist()]


def _share(asked: Sequence[str], words: Sequence[str], nouns: Sequence[str]) -> float:
    wanted = next((word for word in asked if word in nouns), None)
    named = [word for word in words if word in nouns]
    return sum(word == wanted for word in named) / max(1, len(named))


def _repeated(words: Sequence[str]) -> float:
    pairs = list(pairwise(words))
    return (len(pairs) - len(set(pairs))) / max(1, len(words))
