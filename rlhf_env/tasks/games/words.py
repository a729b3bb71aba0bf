"""Closed vocabularies of whole words: a word's place is its token id.

Token 0 ends a response. The vocabulary of a small version of a game is the beginning of that of the
large one, so that the same language model plays both: its other logits are cut off.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from tokenizers import Regex, Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split
from torch import Tensor
from transformers import PreTrainedTokenizerFast

EOS_ID = 0
EOS = "</s>"
NEWLINE = "\n"


def word_tokenizer(words: Sequence[str]) -> PreTrainedTokenizerFast:
    """Return the tokenizer of some words, the first of which is EOS and pads.

    Words are separated by spaces; a new line is a word.
    """
    tokenizer = Tokenizer(WordLevel({word: index for index, word in enumerate(words)}))
    tokenizer.pre_tokenizer = Split(Regex(" +"), "removed")  # type: ignore[assignment]
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=EOS, pad_token=EOS)


class Words:
    """Some words and their ids."""

    def __init__(self, words: Sequence[str]) -> None:
        """Take words in the order of their ids."""
        self.words = tuple(words)
        self._ids = {word: index for index, word in enumerate(words)}

    def __len__(self) -> int:
        """Return the size of the vocabulary."""
        return len(self.words)

    def id(self, word: str) -> int:
        """Return the id of a word."""
        return self._ids[word]

    def encode(self, words: Sequence[str]) -> Tensor:
        """Return the ids of some words, [n] int64."""
        return torch.tensor([self._ids[word] for word in words], dtype=torch.int64)

    def decode(self, ids: Tensor | Sequence[int]) -> list[str]:
        """Return the words of some ids."""
        return [self.words[int(index)] for index in ids]
