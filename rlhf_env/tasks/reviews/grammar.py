"""The probabilistic grammar that writes the reviews the language model learns from.

It writes word by word, and the words written so far fix its state. So a text has one derivation
only, its likelihood is a product, and the entropy is an exact recursion over states. What may
come next in each state is in `places`.
"""

from __future__ import annotations

import math
from bisect import bisect
from collections.abc import Sequence
from itertools import accumulate

import numpy as np
from torch import Tensor
from tqdm import tqdm

from rlhf_env.tasks.reviews.places import Choice, State, next_words
from rlhf_env.tasks.reviews.vocabulary import Request, encoded, encoded_prompts


class Grammar:
    """The distribution over reviews for one request."""

    def __init__(self, request: Request) -> None:
        """Write for ``request``."""
        self.request = request
        self._choices: dict[State, tuple[Choice, ...]] = {}
        self._cumulative: dict[State, list[float]] = {}
        self._moments: dict[State, tuple[float, float]] = {}

    def choices(self, state: State) -> tuple[Choice, ...]:
        """Return the words that may come next; their probabilities sum to 1."""
        if state not in self._choices:
            self._choices[state] = next_words(self.request, state)
        return self._choices[state]

    def sample(self, generator: np.random.Generator) -> list[str]:
        """Return the words of one review, the end token included."""
        words: list[str] = []
        state = State()
        while state.place != "end":
            choices = self.choices(state)
            if state not in self._cumulative:
                self._cumulative[state] = list(accumulate(c.probability for c in choices))
            drawn = bisect(self._cumulative[state], generator.random(), hi=len(choices) - 1)
            words.append(choices[drawn].word)
            state = choices[drawn].state
        return words

    def logprob(self, words: Sequence[str]) -> float:
        """Return log P(words), end token included, in nats; -inf for what is never written."""
        state, total = State(), 0.0
        for word in words:
            found = next((c for c in self._open_choices(state) if c.word == word), None)
            if found is None:
                return -math.inf
            total += math.log(found.probability)
            state = found.state
        return total if state.place == "end" else -math.inf

    def entropy(self) -> float:
        """Return the exact entropy of a whole review, in nats."""
        return self._entropy_and_length(State())[0]

    def expected_length(self) -> float:
        """Return the exact mean number of tokens of a review, end token included."""
        return self._entropy_and_length(State())[1]

    def _open_choices(self, state: State) -> tuple[Choice, ...]:
        return () if state.place == "end" else self.choices(state)

    def _entropy_and_length(self, state: State) -> tuple[float, float]:
        # H(s) = Σ p·(−ln p + H(s')): finite, since every loop of the grammar is counted.
        if state.place == "end":
            return 0.0, 0.0
        if state not in self._moments:
            entropy, length = 0.0, 1.0
            for choice in self.choices(state):
                later_entropy, later_length = self._entropy_and_length(choice.state)
                entropy += choice.probability * (later_entropy - math.log(choice.probability))
                length += choice.probability * later_length
            self._moments[state] = entropy, length
        return self._moments[state]


def grammar_texts(
    asked: Sequence[Request], count: int, seed: int
) -> tuple[list[Tensor], list[Tensor]]:
    """Return ``count`` prompts, in turn from ``asked``, and a grammar text for each, as ids."""
    generator = np.random.default_rng(seed)
    grammars = [Grammar(request) for request in asked]
    rows = tqdm(range(count), desc="grammar texts")
    written = [grammars[row % len(grammars)].sample(generator) for row in rows]
    prompts = encoded_prompts(asked)
    return [prompts[row % len(prompts)] for row in range(count)], encoded(written)
