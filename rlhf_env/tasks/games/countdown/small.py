"""The task countdown-small: the same game on eight puzzles, as an automaton with a known optimum.

The automaton's states are what was written of the current line and the numbers at hand. The
reference writes mostly legal lines, blindly; what is learned is a table of each time and state.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from torch import Tensor

from rlhf_env.task import Task
from rlhf_env.tasks.automaton import AutomatonReward, automaton_task
from rlhf_env.tasks.games.countdown.judge import Judge
from rlhf_env.tasks.games.countdown.rules import OPERATIONS, Pool, Puzzle, after, read_line
from rlhf_env.tasks.games.words import EOS, NEWLINE, Words, word_tokenizer

PUZZLES = tuple(
    Puzzle(numbers, target)
    for numbers, targets in (((1, 2, 3), (0, 2, 4, 6)), ((1, 2, 4), (1, 3, 5, 7)))
    for target in targets
)
LARGEST = 7
WORDS = Words((EOS, NEWLINE, "=", *OPERATIONS, *(str(n) for n in range(LARGEST + 1))))

# Logits of the reference: what goes on legally, a result that is right, a stop before the end.
_LEGAL, _ILLEGAL, _RIGHT, _EARLY = 2.0, -3.0, 4.0, -1.0


class SolvedState(AutomatonReward):
    """Pays 1 in the states in which a puzzle is solved, else 0."""

    def solved(self, prompts: list[Tensor], responses: list[Tensor]) -> Tensor:
        """Return which responses solve their puzzles, [B] bool."""
        return self(prompts, responses) > 0


class Written(NamedTuple):
    """What was written so far of a response."""

    target: int
    pool: Pool | None
    """Numbers at hand at the start of the line; None once something was illegal."""
    line: tuple[str, ...]
    """Words of the current line."""

    @property
    def is_solved(self) -> bool:
        """Whether the response is right if it ends here."""
        if self.pool is None:
            return False
        left = self.next_pool if self.line else self.pool
        return left == (self.target,)

    @property
    def next_pool(self) -> Pool | None:
        """The numbers at hand after the line; None while it is not complete and right."""
        found = read_line(self.line)
        return None if found is None or self.pool is None else after(self.pool, found)


def countdown_small_task(
    puzzles: Sequence[Puzzle] = PUZZLES,
    *,
    horizon: int = 18,
    kl_coef: float = 0.05,
    policy: str = "timed_table",
    words: Words = WORDS,
) -> Task:
    """Return "countdown-small"; prompt i is the single token i, for puzzle i.

    Args:
        puzzles: at most as many as there are words.
        horizon: T, three lines.
        kl_coef: beta.
        policy: what copies of the reference learn; see `rlhf_env.tasks.automaton_task`.
        words: the vocabulary, EOS first.

    Raises:
        ValueError: if there are more puzzles than words.
    """
    if len(puzzles) > len(words):
        raise ValueError(f"puzzles must be at most {len(words)}, got {len(puzzles)}; give fewer")
    states, moves = explored(puzzles, words)
    task = automaton_task(
        moves,
        np.array([reference_logits(state, words) for state in states]),
        np.array([float(state.is_solved) for state in states]),
        horizon,
        start=list(range(len(puzzles))),
        kl_coef=kl_coef,
        policy=policy,
        name="countdown-small",
    )

    def puzzle_of(prompt: Tensor) -> Puzzle:
        return puzzles[int(prompt[0])]

    assert isinstance(task.reward, AutomatonReward)
    judge = Judge(words, puzzle_of, max(int(word) for word in words.words if word.isdigit()))
    return dataclasses.replace(
        task,
        reward=SolvedState(task.reward.automaton),
        tokenizer=word_tokenizer(words.words),
        end_of_turn_id=words.id(NEWLINE),
        step_scores=judge.step_scores,
    )


def explored(puzzles: Sequence[Puzzle], words: Words) -> tuple[list[Written], np.ndarray]:
    """Return all states, those of the puzzles' starts first, and where each word leads [S, V]."""
    states = [Written(puzzle.target, puzzle.numbers, ()) for puzzle in puzzles]
    numbers = {state: number for number, state in enumerate(states)}
    moves: list[list[int]] = []
    # The list grows while it is read.
    for number, state in enumerate(states):
        row = [number]
        for word in words.words[1:]:
            following = written_after(state, word)
            if following not in numbers:
                numbers[following] = len(states)
                states.append(following)
            row.append(numbers[following])
        moves.append(row)
    return states, np.array(moves)


def written_after(state: Written, word: str) -> Written:
    """Return the state after another word, which is not EOS."""
    illegal = Written(0, None, ())
    if state.pool is None:
        return illegal
    if word == NEWLINE:
        left = state.next_pool
        return illegal if left is None else Written(state.target, left, ())
    line = (*state.line, word)
    return state._replace(line=line) if _is_begun(state.pool, line) else illegal


def reference_logits(state: Written, words: Words) -> list[float]:
    """Return the reference's logits: legal words are likely, whatever the target is."""
    if state.pool is None:
        return [_LEGAL if word == EOS else _EARLY for word in words.words]
    is_over = len(state.pool) == (1 if not state.line else 2)

    def logit(word: str) -> float:
        if word == EOS:
            return _LEGAL if is_over and len(state.line) in (0, 5) else _ILLEGAL
        following = written_after(state, word)
        if following.pool is None:
            return _ILLEGAL
        if word == NEWLINE:
            return _EARLY if is_over else _LEGAL
        return _RIGHT if len(following.line) == 5 else _LEGAL

    return [logit(word) for word in words.words]


def _is_begun(pool: Pool, line: tuple[str, ...]) -> bool:
    """Return whether words begin a correct line on two numbers of a pool."""
    left = list(map(str, pool))
    for place, word in enumerate(line[:3:2]):
        if place < 2 and word not in left:
            return False
        left.remove(word)
    if len(line) > 1 and line[1] not in OPERATIONS:
        return False
    if len(line) > 3 and line[3] != "=":
        return False
    if len(line) < 5:
        return True
    found = read_line(line)
    return found is not None and after(pool, found) is not None
