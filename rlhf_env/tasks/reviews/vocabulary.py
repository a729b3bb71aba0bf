"""The closed vocabulary of the reviews task: its words, what they mean, and its tokenizer.

The gold reward and the grammar read the same tables; this module holds no probabilities.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from torch import Tensor
from transformers import PreTrainedTokenizerFast

PAD, EOS, UNKNOWN = "<pad>", "<eos>", "<unk>"
POSITIVE, NEGATIVE = "positive", "negative"
SENTIMENTS = (POSITIVE, NEGATIVE)

DISHES = (
    *("pizza", "pasta", "burger", "salad", "soup", "curry"),
    *("steak", "sushi", "paella", "ramen", "risotto", "lasagne"),
)
ASPECTS = ("taste", "service", "price", "portion", "wait", "room")

GENERAL_OPINIONS = {
    POSITIVE: ("good", "great", "excellent", "lovely", "perfect"),
    NEGATIVE: ("bad", "awful", "terrible", "poor", "horrible"),
}
ASPECT_OPINIONS = {
    "taste": {
        POSITIVE: ("delicious", "tasty", "fresh", "juicy"),
        NEGATIVE: ("bland", "stale", "bitter", "soggy"),
    },
    "service": {
        POSITIVE: ("friendly", "polite", "kind", "helpful"),
        NEGATIVE: ("rude", "careless", "grumpy", "hostile"),
    },
    "price": {
        POSITIVE: ("cheap", "fair", "reasonable", "modest"),
        NEGATIVE: ("expensive", "steep", "outrageous", "unfair"),
    },
    "portion": {
        POSITIVE: ("generous", "huge", "filling", "ample"),
        NEGATIVE: ("tiny", "small", "stingy", "meagre"),
    },
    "wait": {
        POSITIVE: ("short", "quick", "brief", "smooth"),
        NEGATIVE: ("long", "slow", "endless", "painful"),
    },
    "room": {
        POSITIVE: ("cosy", "clean", "bright", "quiet"),
        NEGATIVE: ("noisy", "dirty", "dark", "cramped"),
    },
}
FEELINGS = {
    POSITIVE: ("loved", "liked", "enjoyed"),
    NEGATIVE: ("hated", "disliked", "regretted"),
}
PLANS = {POSITIVE: ("return", "recommend"), NEGATIVE: ("complain", "leave")}

INTENSIFIERS = ("very", "really", "so")
VERBS = ("was", "is", "seemed", "felt")
ORDERS = ("ordered", "shared", "tried", "chose")
COMPANY = ("friends", "family", "colleagues", "neighbours")
DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
STRUCTURE = (
    *(":", ".", ",", "!", "the", "of", "and", "but", "i", "we"),
    *("well", "will", "thought", "with", "on", "you", "know", "it", "a", "anyway"),
)


class Request(NamedTuple):
    """What a prompt asks for."""

    dish: str
    aspect: str
    sentiment: str

    @property
    def prompt(self) -> str:
        """The prompt's text, such as ``pizza service positive :``."""
        return f"{self.dish} {self.aspect} {self.sentiment} :"


def opinion_words(sentiment: str) -> tuple[str, ...]:
    """Return every word that counts as an opinion of one sentiment."""
    specific = [word for words in ASPECT_OPINIONS.values() for word in words[sentiment]]
    return (
        *GENERAL_OPINIONS[sentiment],
        *specific,
        *FEELINGS[sentiment],
        *PLANS[sentiment],
    )


def vocabulary() -> tuple[str, ...]:
    """Return all words; a word's place is its token id."""
    opinions = (*opinion_words(POSITIVE), *opinion_words(NEGATIVE))
    plain = (*STRUCTURE, *INTENSIFIERS, *VERBS, *ORDERS, *COMPANY, *DAYS)
    return (PAD, EOS, UNKNOWN, *SENTIMENTS, *DISHES, *ASPECTS, *opinions, *plain)


def requests(*, held_out: bool) -> tuple[Request, ...]:
    """Return what is asked in training, or the combinations kept for evaluation.

    One sixth is held out, such that each dish, aspect and sentiment is seen in training.
    """
    return tuple(
        Request(dish, aspect, sentiment)
        for d, dish in enumerate(DISHES)
        for a, aspect in enumerate(ASPECTS)
        for s, sentiment in enumerate(SENTIMENTS)
        if ((d + a + 3 * s) % len(ASPECTS) == 0) == held_out
    )


def encoded(texts: Sequence[Sequence[str]]) -> list[Tensor]:
    """Return the token ids of texts given as words of the vocabulary."""
    ids = {word: index for index, word in enumerate(vocabulary())}
    return [torch.tensor([ids[word] for word in text]) for text in texts]


def encoded_prompts(asked: Sequence[Request]) -> list[Tensor]:
    """Return the token ids of the prompt of each request."""
    return encoded([request.prompt.split() for request in asked])


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Return the tokenizer: one token per word, words separated by spaces."""
    ids = {word: index for index, word in enumerate(vocabulary())}
    tokenizer = Tokenizer(WordLevel(ids, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = WhitespaceSplit()  # type: ignore[assignment]
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=EOS, pad_token=PAD, unk_token=UNKNOWN
    )
