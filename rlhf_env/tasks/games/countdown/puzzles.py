"""Puzzles of countdown: all there are, which are held out, and their words."""

from __future__ import annotations

import random
from functools import cache
from itertools import combinations_with_replacement

from rlhf_env.tasks.games.countdown.rules import Puzzle, targets
from rlhf_env.tasks.games.words import EOS, NEWLINE, Words

LARGEST = 36
"""Numbers and results are 0 to 36: one word each."""
DIGITS = 9
"""Given numbers are 1 to 9."""
COUNTS = (3, 4)
"""How many numbers a puzzle gives."""
MOST_LINES = 5
"""As many lines as an attempt may ramble on for."""
_HELD_OUT = 10

WORDS = Words((EOS, NEWLINE, "=", ":", "+", "-", *(str(number) for number in range(LARGEST + 1))))


@cache
def puzzles(count: int, *, held_out: bool) -> tuple[Puzzle, ...]:
    """Return the puzzles of a number of numbers, ascending: a tenth of them is held out.

    All can be solved, and none gives its target among its numbers.
    """
    every = [
        Puzzle(pool, target)
        for pool in combinations_with_replacement(range(1, DIGITS + 1), count)
        for target in sorted(targets(pool, LARGEST) - set(pool))
    ]
    # One order for good; every tenth of it is held out.
    random.Random(count).shuffle(every)
    return tuple(sorted(p for i, p in enumerate(every) if (i % _HELD_OUT == 0) == held_out))


def prompt_words(puzzle: Puzzle) -> list[str]:
    """Return the prompt of a puzzle, such as ``2 3 5 = 4 :``."""
    return [*map(str, puzzle.numbers), "=", str(puzzle.target), ":"]


def puzzle_of(words: list[str]) -> Puzzle:
    """Return the puzzle of a prompt.

    Raises:
        ValueError: if it is no prompt of countdown.
    """
    if len(words) < 4 or words[-1] != ":" or words[-3] != "=":
        raise ValueError(
            f"a prompt of countdown must be numbers, =, a target and :, got {' '.join(words)!r}"
        )
    numbers = [*words[:-3], words[-2]]
    if not all(word.isdigit() for word in numbers):
        raise ValueError(f"a prompt of countdown must be of numbers, got {' '.join(words)!r}")
    *given, target = map(int, numbers)
    return Puzzle(tuple(sorted(given)), target)
