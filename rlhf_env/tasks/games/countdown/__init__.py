"""The task countdown: reach a target with given numbers, one operation a line."""

from __future__ import annotations

import random
from pathlib import Path

from torch import Tensor

from rlhf_env.task import Task
from rlhf_env.tasks.games.countdown.judge import Judge
from rlhf_env.tasks.games.countdown.puzzles import (
    COUNTS,
    LARGEST,
    WORDS,
    prompt_words,
    puzzle_of,
    puzzles,
)
from rlhf_env.tasks.games.language_model import ASSETS, load_language_model
from rlhf_env.tasks.games.words import NEWLINE, word_tokenizer

__all__ = ["countdown_task"]

_TRAIN, _HELD_OUT = 384, 64
_LINE_TOKENS = 6
# Lines beyond those that a solution needs, which a wrong answer may ramble on for.
_SPARE_LINES = 2


def countdown_task(numbers: int = 3, *, kl_coef: float = 0.01, folder: Path = ASSETS) -> Task:
    """Return "countdown" or "countdown-4": three or four numbers, by sums and differences.

    A response is paid 1 if it solves the puzzle, else 0. Lines are turns: the step score is 1 while
    the target can still be reached. The puzzles to evaluate on were seen by no model.

    Args:
        numbers: how many a puzzle gives, 3 or 4; each is to be used once.
        kl_coef: beta.
        folder: assets of a build; the committed ones by default.

    Raises:
        ValueError: for other numbers of numbers.
    """
    if numbers not in COUNTS:
        raise ValueError(f"numbers must be one of {list(COUNTS)}, got {numbers!r}")
    judge = Judge(WORDS, lambda prompt: puzzle_of(WORDS.decode(prompt)), LARGEST)
    return Task(
        name="countdown" if numbers == COUNTS[0] else f"countdown-{numbers}",
        tokenizer=word_tokenizer(WORDS.words),
        reference=load_language_model("countdown", len(WORDS), folder),
        reward=judge,
        prompts=_drawn(numbers, _TRAIN, held_out=False),
        eval_prompts=_drawn(numbers, _HELD_OUT, held_out=True),
        max_prompt_tokens=numbers + 3,
        max_new_tokens=(numbers - 1 + _SPARE_LINES) * _LINE_TOKENS,
        kl_coef=kl_coef,
        end_of_turn_id=WORDS.id(NEWLINE),
        step_scores=judge.step_scores,
    )


def _drawn(numbers: int, most: int, *, held_out: bool) -> list[Tensor]:
    """Return prompts of different puzzles, all there are if they are fewer than asked for."""
    known = puzzles(numbers, held_out=held_out)
    drawn = random.Random(0).sample(known, min(most, len(known)))
    return [WORDS.encode(prompt_words(puzzle)) for puzzle in drawn]
