"""What the language model of guess reads: games of players who seldom remember the answers."""

from __future__ import annotations

import random

from torch import Tensor

from rlhf_env.tasks.games.guess.rules import HIGHER, LARGEST, LOWER, WORDS
from rlhf_env.tasks.games.words import EOS

_REMEMBERED = 0.5
_MOST_TURNS = 8


def games(count: int, seed: int) -> tuple[list[Tensor], list[Tensor]]:
    """Return prompts and games as ids.

    Ranges are of all sizes: their bounds are drawn among the first 3, 7, … or 255 numbers. A guess
    is drawn from what the answers leave, or, as often, from the whole range.

    Args:
        count: how many.
        seed: decides everything.
    """
    draw = random.Random(seed)
    prompts: list[Tensor] = []
    texts: list[Tensor] = []
    for _ in range(count):
        most = 2 ** draw.randint(2, LARGEST.bit_length()) - 1
        low, high = sorted(draw.sample(range(1, most + 1), 2))
        prompts.append(WORDS.encode([str(low), str(high)]))
        texts.append(WORDS.encode(_game(low, high, draw)))
    return prompts, texts


def _game(low: int, high: int, draw: random.Random) -> list[str]:
    hidden = draw.randint(low, high)
    left, words = (low, high), []
    for _ in range(_MOST_TURNS):
        guess = draw.randint(*left if draw.random() < _REMEMBERED else (low, high))
        words += [str(guess), EOS]
        if guess == hidden:
            break
        words.append(HIGHER if guess < hidden else LOWER)
        left = (
            (max(left[0], guess + 1), left[1])
            if guess < hidden
            else (left[0], min(left[1], guess - 1))
        )
    return words
