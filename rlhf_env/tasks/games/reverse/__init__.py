"""The task reverse: copy, reverse or sort letters among noise, with partial credit."""

from __future__ import annotations

import random
from pathlib import Path

from torch import Tensor

from rlhf_env.task import Task
from rlhf_env.tasks.games.language_model import ASSETS, load_language_model
from rlhf_env.tasks.games.reverse.rules import (
    LETTERS,
    NOISE,
    SMALL_WORDS,
    WORDS,
    RightLetters,
    causal_tokens,
)
from rlhf_env.tasks.games.reverse.texts import draw_prompt
from rlhf_env.tasks.games.words import word_tokenizer

__all__ = ["causal_tokens", "reverse_small_task", "reverse_task"]

_TRAIN, _HELD_OUT = 512, 64


def reverse_task(*, kl_coef: float = 0.02, folder: Path = ASSETS) -> Task:
    """Return "reverse": three to five of eight letters, up to sixteen tokens of response.

    Args:
        kl_coef: beta.
        folder: assets of a build; the committed ones by default.
    """
    prompts = _prompts(_TRAIN + _HELD_OUT)
    return Task(
        name="reverse",
        tokenizer=word_tokenizer(WORDS.words),
        reference=load_language_model("reverse", len(WORDS), folder),
        reward=RightLetters(),
        prompts=prompts[:_TRAIN],
        eval_prompts=prompts[_TRAIN:],
        max_prompt_tokens=11,
        max_new_tokens=16,
        kl_coef=kl_coef,
    )


def reverse_small_task(*, kl_coef: float = 0.02, folder: Path = ASSETS) -> Task:
    """Return "reverse-small": two of three letters, four tokens of response, all enumerable.

    The language model is that of "reverse", its other words cut off.

    Args:
        kl_coef: beta.
        folder: assets of a build; the committed ones by default.
    """
    prompts = [
        [first, *noise, second, command]
        for command in ("copy", "reverse", "sort")
        for first, second in (("a", "b"), ("b", "a"), ("c", "a"))
        for noise in ((), (NOISE[0],))
    ]
    return Task(
        name="reverse-small",
        tokenizer=word_tokenizer(SMALL_WORDS),
        reference=load_language_model("reverse", len(WORDS), folder),
        reward=RightLetters(),
        prompts=[WORDS.encode(prompt) for prompt in prompts],
        max_prompt_tokens=4,
        max_new_tokens=4,
        kl_coef=kl_coef,
    )


def _prompts(count: int) -> list[Tensor]:
    """Return prompts of which no two are the same."""
    draw = random.Random(0)
    found: dict[tuple[str, ...], None] = {}
    while len(found) < count:
        found[tuple(draw_prompt(draw, (3, 4, 5), LETTERS, NOISE))] = None
    return [WORDS.encode(prompt) for prompt in found]
