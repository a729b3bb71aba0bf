"""Countdown's computed rewards: solved or not, and whether the target is still within reach."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from rlhf_env.tasks.games.countdown.rules import Pool, Puzzle, pool_after, targets
from rlhf_env.tasks.games.words import EOS, NEWLINE, Words


class Judge:
    """Reads responses to puzzles line by line.

    A response is solved if all its lines are legal and leave the target alone. The last line may
    end with EOS, a new line or nothing, and nothing may follow it.
    """

    def __init__(self, words: Words, puzzle_of: Callable[[Tensor], Puzzle], largest: int) -> None:
        """Take the vocabulary, what reads a prompt, and the largest number there is a word for."""
        self.words = words
        self.puzzle_of = puzzle_of
        self.largest = largest

    def __call__(self, prompts: list[Tensor], responses: list[Tensor]) -> Tensor:
        """Return 1 for each response that solves its puzzle, else 0: [B] float64."""
        return self.solved(prompts, responses).double()

    def solved(self, prompts: list[Tensor], responses: list[Tensor]) -> Tensor:
        """Return which responses solve their puzzles, [B] bool."""
        puzzles = [self.puzzle_of(prompt) for prompt in prompts]
        rows = zip(puzzles, self._pools(puzzles, responses), strict=True)
        return torch.tensor([pool == (puzzle.target,) for puzzle, pool in rows], dtype=torch.bool)

    def step_scores(self, prompts: list[Tensor], histories: list[Tensor]) -> Tensor:
        """Return 1 where the target can still be reached after some lines, else 0: [B] float64.

        It is the score that the best continuation gets, so nothing is won or lost by a line but
        where it gives the target away.
        """
        puzzles = [self.puzzle_of(prompt) for prompt in prompts]
        rows = zip(puzzles, self._pools(puzzles, histories), strict=True)
        found = [pool is not None and p.target in targets(pool, self.largest) for p, pool in rows]
        return torch.tensor(found, dtype=torch.float64)

    def _pools(self, puzzles: Sequence[Puzzle], said: list[Tensor]) -> list[Pool | None]:
        rows = zip(puzzles, said, strict=True)
        return [pool_after(p.numbers, lines_of(self.words.decode(ids))) for p, ids in rows]


def lines_of(words: Sequence[str]) -> list[list[str]]:
    """Return the lines of a response as words; what is behind an EOS is a line of its own."""
    lines: list[list[str]] = [[]]
    for word in words:
        if word in (NEWLINE, EOS):
            lines.append([])
        else:
            lines[-1].append(word)
    # The end of the last line begins no other; an EOS alone behind it is an end, too.
    ends = 1 + (list(words[-2:]) == [NEWLINE, EOS])
    for _ in range(ends):
        if len(lines) > 1 and not lines[-1]:
            lines.pop()
    return lines
