"""Tasks in which a claim's mechanism is present, for claims that no built-in task shows."""

from __future__ import annotations

import dataclasses

import numpy as np

from rlhf_env.task import Task
from rlhf_env.tasks.automaton import automaton_task
from rlhf_env.tasks.games.guess import guess_task
from rlhf_env.tasks.games.guess.rules import WORDS

_WORDS, _LETTERS = 6, 4
# Of the letter that continues a word, the others having 0: 97 % of 8 tokens.
_CERTAIN = 5.5


def words_task() -> Task:
    """Return "words": six words of four letters, of which only the first letter is a choice.

    The first letter is one of 1 to 4, and 1 + (words so far) % 4 is right; the other three letters
    are spelled by the reference almost surely, and a misspelled word is wrong. The score is the
    share of words that are right. So a decision is in doubt at every fourth token only.
    """
    # A state: words finished, how many of them are right, letters of the present word, is it right.
    finished, right, letters, good = np.indices((_WORDS + 1, _WORDS + 1, _LETTERS, 2))
    shape, count = finished.shape, finished.size
    number = np.arange(count).reshape(shape)
    vocabulary = 8
    moves = np.empty((*shape, vocabulary), dtype=np.int64)
    logits = np.zeros((*shape, vocabulary))
    for token in range(vocabulary):
        choice = token == 1 + finished % 4
        spelled = token == 4 + letters
        is_good = np.where(letters == 0, choice, (good == 1) & spelled)
        ends = letters == _LETTERS - 1
        moves[..., token] = number[
            np.minimum(finished + ends, _WORDS),
            np.minimum(right + (ends & is_good), _WORDS),
            np.where(ends, 0, letters + 1),
            np.where(ends, 0, is_good),
        ]
        first = letters == 0
        logits[..., token] = np.where(first & (token not in range(1, 5)), -_CERTAIN, 0.0)
        logits[..., token] += np.where(~first & spelled, _CERTAIN, 0.0)
    logits[..., 0] = -_CERTAIN
    return automaton_task(
        moves.reshape(count, vocabulary),
        logits.reshape(count, vocabulary),
        right.ravel() / _WORDS,
        _WORDS * _LETTERS,
        kl_coef=0.02,
        policy="table",
        name="words",
    )


def ladder_task() -> Task:
    """Return "ladder": eight prompts that begin on the rungs 0 to 7 of one ladder of eight.

    On rung m token m % 6 + 1 leads to the next, others change nothing; the score is 1 at the top.
    The reference errs twice as often as it climbs, and stops at the top. So the prompts differ
    in difficulty, and what is learned about the last rungs serves them all.
    """
    rungs, vocabulary = 8, 8
    states = np.arange(rungs + 1)
    moves = np.repeat(states[:, None], vocabulary, axis=1)
    moves[states[:-1], states[:-1] % 6 + 1] += 1
    logits = np.full(moves.shape, 0.0)
    logits[states[:-1], states[:-1] % 6 + 1] = 1.0
    logits[:, 0] = -3.0
    logits[rungs, 0] = 5.0
    return automaton_task(
        moves,
        logits,
        (states == rungs).astype(np.float64),
        16,
        start=list(range(rungs)),
        kl_coef=0.0,
        policy="table",
        name="ladder",
    )


def spare_turns_task() -> Task:
    """Return "guess-3" over 1 to 7 with six turns, of which halving needs three at most."""
    turns = 6
    return dataclasses.replace(
        guess_task(3),
        name="guess-3-spare",
        prompts=[WORDS.encode(["1", "7"])],
        eval_prompts=(),
        max_new_tokens=2 * turns - 1,
        max_turns=turns,
        max_environment_tokens=turns - 1,
        # Those of the game are of three turns.
        step_scores=None,
    )
