"""The rules of countdown: lines of arithmetic, and whether the target can still be reached.

Each line takes two of the numbers at hand and puts their result in their place, as in
``3 + 5 = 8``. A puzzle is solved when the target alone is left.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from functools import cache
from typing import NamedTuple

OPERATIONS = {"+": operator.add, "-": operator.sub}

Pool = tuple[int, ...]
"""Numbers at hand, ascending."""


class Puzzle(NamedTuple):
    """Numbers, each to be used once, and what they are to make."""

    numbers: Pool
    target: int


class Line(NamedTuple):
    """One operation on two of the numbers at hand, and its result."""

    left: int
    operation: str
    right: int
    result: int

    @property
    def words(self) -> tuple[str, ...]:
        """The line's words, without its end."""
        return str(self.left), self.operation, str(self.right), "=", str(self.result)


def read_line(words: Sequence[str]) -> Line | None:
    """Return the line that five words are; None if they are none."""
    if len(words) != 5 or words[3] != "=" or words[1] not in OPERATIONS:
        return None
    if not all(words[place].isdigit() for place in (0, 2, 4)):
        return None
    return Line(int(words[0]), words[1], int(words[2]), int(words[4]))


def after(pool: Pool, line: Line) -> Pool | None:
    """Return the numbers at hand after a line.

    None where the line uses a number that is not there, or its result is wrong.
    """
    left = list(pool)
    for number in (line.left, line.right):
        if number not in left:
            return None
        left.remove(number)
    if OPERATIONS[line.operation](line.left, line.right) != line.result:
        return None
    return tuple(sorted([*left, line.result]))


@cache
def legal_lines(pool: Pool, largest: int) -> tuple[Line, ...]:
    """Return all correct lines on two numbers of a pool, results within [0, largest].

    A sum is listed with its numbers in both orders.
    """
    return tuple(sorted(set(_lines(pool, largest))))


def _lines(pool: Pool, largest: int) -> Iterator[Line]:
    for i, left in enumerate(pool):
        for right in (*pool[:i], *pool[i + 1 :]):
            for name, operation in OPERATIONS.items():
                result = operation(left, right)
                if 0 <= result <= largest:
                    yield Line(left, name, right, result)


@cache
def targets(pool: Pool, largest: int) -> frozenset[int]:
    """Return all that can be made of a pool by using each of its numbers once."""
    if len(pool) == 1:
        return frozenset(pool)
    pools = {after(pool, line) for line in legal_lines(pool, largest)}
    return frozenset().union(*(targets(left, largest) for left in pools if left is not None))


def pool_after(pool: Pool, lines: Sequence[Sequence[str]]) -> Pool | None:
    """Return the numbers at hand after lines, given as words; None from the first illegal one on.

    Results have no bound here: what no token can write cannot be said.
    """
    current: Pool | None = pool
    for words in lines:
        line = read_line(words)
        current = None if line is None or current is None else after(current, line)
        if current is None:
            return None
    return current
