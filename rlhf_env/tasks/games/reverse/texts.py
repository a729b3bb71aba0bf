"""What the language model of reverse reads: answers that often mistake what is asked."""

from __future__ import annotations

import random
from collections.abc import Sequence

from torch import Tensor

from rlhf_env.tasks.games.reverse.rules import COMMANDS, LETTERS, NOISE, WORDS, asked_for
from rlhf_env.tasks.games.words import EOS

_MISREAD = 0.5
_WRONG_LETTER = 0.25
_NOISE = 0.3
_SHORT = 0.1


def draw_prompt(
    draw: random.Random,
    lengths: Sequence[int],
    letters: Sequence[str] = LETTERS,
    noise: Sequence[str] = NOISE,
) -> list[str]:
    """Return the words of a prompt: letters, each with noise behind it in one case of four."""
    words: list[str] = []
    for _ in range(draw.choice(lengths)):
        words.append(draw.choice(letters))
        if draw.random() < 0.25:
            words.append(draw.choice(noise))
    return [*words, draw.choice(list(COMMANDS))]


def answers(count: int, seed: int) -> tuple[list[Tensor], list[Tensor]]:
    """Return prompts and what is written below each, as ids.

    Half of the texts do what another command would ask for. A letter is wrong in one case of four,
    noise is put in, and a tenth of the prompts are of the small version.

    Args:
        count: how many.
        seed: decides everything.
    """
    draw = random.Random(seed)
    prompts: list[Tensor] = []
    texts: list[Tensor] = []
    for _ in range(count):
        small = draw.random() < _SHORT
        prompt = (
            draw_prompt(draw, (2,), LETTERS[:3], NOISE[:1])
            if small
            else draw_prompt(draw, (3, 4, 5))
        )
        prompts.append(WORDS.encode(prompt))
        known = (LETTERS[:3], NOISE[:1]) if small else (LETTERS, NOISE)
        texts.append(WORDS.encode(_answer(prompt, *known, draw)))
    return prompts, texts


def _answer(
    prompt: list[str], letters: Sequence[str], noise: Sequence[str], draw: random.Random
) -> list[str]:
    *given, command = prompt
    if draw.random() < _MISREAD:
        command = draw.choice(list(COMMANDS))
    words: list[str] = []
    for letter in asked_for([*given, command]):
        while draw.random() < _NOISE:
            words.append(draw.choice(noise))
        words.append(draw.choice(letters) if draw.random() < _WRONG_LETTER else letter)
    return [*words, EOS]
