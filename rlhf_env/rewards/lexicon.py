"""A reward that looks words up: human ratings of single words, paid at the token that ends one.

As a `Reward` it scores a response by the sum over its words; ``token_scores`` shows which token
each part belongs to, for ``wrappers.TokenReward``.
"""

from __future__ import annotations

import math
import string
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from rlhf_env.files import parse_json
from rlhf_env.text.rows import unpacked

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class LexiconReward:
    """The sum of the values of a response's words; words that are not listed count as 0.

    Words are separated by blanks, in lower case, looked up as they are (emoticons) and else
    without punctuation around them.
    """

    def __init__(self, worth: Mapping[str, float], tokenizer: PreTrainedTokenizerBase) -> None:
        """Take the words and their values.

        Args:
            worth: word in lower case -> a finite number.
            tokenizer: turns responses into text.

        Raises:
            ValueError: if a number is not finite.
        """
        for word, value in worth.items():
            if not math.isfinite(value):
                raise ValueError(f"the worth of {word!r} must be a finite number, got {value}")
        self.worth = dict(worth)
        self.tokenizer = tokenizer

    @classmethod
    def from_jsonl(cls, path: str | Path, tokenizer: PreTrainedTokenizerBase) -> LexiconReward:
        """Read a lexicon of one ``{"token": word, "mean": number}`` a line; other fields may be.

        Args:
            path: JSON lines, compressed if the name ends in ".gz".
            tokenizer: turns responses into text.

        Raises:
            ValueError: if a line has no such fields, naming it, or the file unpacks to too much.
        """
        file = Path(path)
        content = unpacked(file, "path")
        worth: dict[str, float] = {}
        for number, line in enumerate(content.decode("utf-8").splitlines(), start=1):
            try:
                row = parse_json(line)
                worth[str(row["token"]).lower()] = float(row["mean"])
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(
                    f'line {number} of {file} must be {{"token": word, "mean": number}}, got '
                    f"{line[:60]!r}"
                ) from error
        return cls(worth, tokenizer)

    def text_score(self, text: str) -> float:
        """Return the sum over the words of a text."""
        return sum(self._word_score(word) for word in text.lower().split())

    def __call__(self, prompts: list[Tensor], responses: list[Tensor]) -> Tensor:
        """Return the sum over the words of each response, [B] float64."""
        scores = [self.text_score(self._text(ids)) for ids in responses]
        return torch.tensor(scores, dtype=torch.float64)

    def prefix_scores(self, prompts: list[Tensor], responses: list[Tensor]) -> list[Tensor]:
        """Return the sum after each token, [len + 1]; the last word counts as it stands so far."""
        prefixes = [[ids[:t] for t in range(len(ids) + 1)] for ids in responses]
        return [self([], row) for row in prefixes]

    def token_scores(self, prompt: Tensor, response: Tensor) -> Tensor:
        """Return what each token has changed the sum by, [T]; they add up to the whole score.

        A word is paid at the token that completes it. If a later token turns it into another one
        ("good", "goodness"), that token is paid the difference, so no step looks ahead.

        Args:
            prompt: [P] ids, which do not matter.
            response: [T] ids.
        """
        return self.prefix_scores([prompt], [response])[0].diff()

    def _text(self, ids: Tensor) -> str:
        return str(self.tokenizer.decode(ids, skip_special_tokens=True))

    def _word_score(self, word: str) -> float:
        bare = word.strip(string.punctuation)
        return self.worth.get(word, self.worth.get(bare, 0.0))
