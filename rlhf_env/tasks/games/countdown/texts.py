"""What the language model of countdown reads before it is asked: attempts, few of them solutions.

An attempt does correct operations on numbers at hand that are chosen blindly. It may stop early,
or ramble on where it fails, and now and then its arithmetic is wrong.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from torch import Tensor

from rlhf_env.tasks.games.countdown.puzzles import (
    COUNTS,
    LARGEST,
    MOST_LINES,
    WORDS,
    prompt_words,
    puzzles,
)
from rlhf_env.tasks.games.countdown.rules import Line, Pool, Puzzle, after, legal_lines, targets
from rlhf_env.tasks.games.words import EOS, NEWLINE


@dataclass(frozen=True, kw_only=True)
class Habits:
    """How attempts are made."""

    solving: float
    """The share of texts whose lines do reach the target."""
    stopping: float = 0.3
    """The chance to give up after a line that is not the last, in a text that does not solve."""
    rambling: float = 0.4
    """The chance to go on after a wrong last line, and after each line that follows it."""
    slip: float = 0.03
    """The chance of a wrong result in a line that does not solve."""


def attempts(count: int, habits: Habits, seed: int) -> tuple[list[Tensor], list[Tensor]]:
    """Return prompts and what is written below each, as ids; no puzzle is one that is held out.

    Args:
        count: how many.
        habits: how attempts are made.
        seed: decides everything.
    """
    draw = random.Random(seed)
    prompts: list[Tensor] = []
    texts: list[Tensor] = []
    for _ in range(count):
        puzzle = draw.choice(puzzles(draw.choice(COUNTS), held_out=False))
        solves = draw.random() < habits.solving
        lines = solution(puzzle, draw) if solves else attempt(puzzle, habits, draw)
        words = [word for line in lines for word in (NEWLINE, *line.words)][1:]
        prompts.append(WORDS.encode(prompt_words(puzzle)))
        texts.append(WORDS.encode([*words, EOS]))
    return prompts, texts


def solution(puzzle: Puzzle, draw: random.Random) -> list[Line]:
    """Return lines that solve a puzzle, each drawn from those that keep the target in reach."""
    pool, lines = puzzle.numbers, []
    while len(pool) > 1:
        line, pool = draw.choice(
            [
                (line, left)
                for line in legal_lines(pool, LARGEST)
                if (left := after(pool, line)) and puzzle.target in targets(left, LARGEST)
            ]
        )
        lines.append(line)
    return lines


def attempt(puzzle: Puzzle, habits: Habits, draw: random.Random) -> list[Line]:
    """Return lines on the numbers at hand, and what follows them."""
    pool, lines = puzzle.numbers, []
    while len(pool) > 1:
        line, pool = _blind_line(pool, habits, draw)
        lines.append(line)
        if len(pool) > 1 and draw.random() < habits.stopping:
            return lines
    if pool == (puzzle.target,):
        return lines
    while len(lines) < MOST_LINES and draw.random() < habits.rambling:
        # Nothing is left to work with, so numbers are taken again.
        line, _ = _blind_line((lines[-1].result, draw.choice(puzzle.numbers)), habits, draw)
        lines.append(line)
    return lines


def _blind_line(pool: Pool, habits: Habits, draw: random.Random) -> tuple[Line, Pool]:
    line = draw.choice(legal_lines(pool, LARGEST))
    left = after(pool, line)
    assert left is not None
    if draw.random() < habits.slip:
        wrong = min(max(line.result + draw.choice((-2, -1, 1, 2)), 0), LARGEST)
        rest = list(left)
        rest.remove(line.result)
        return line._replace(result=wrong), tuple(sorted([*rest, wrong]))
    return line, left
