"""From what a user gives as an automaton, arrays or functions of the state, to its tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from rlhf_env.checks import check_count
from rlhf_env.exact.automaton import EOS, Automaton

# The tables are as long as the largest state that a function leads to.
MAX_STATES = 100_000

# Positions and values are arrays over it.
MAX_HORIZON = 1_000_000

Array = NDArray[Any]
StateRows = ArrayLike | Callable[[int], Sequence[float]]
StateScores = ArrayLike | Callable[[int], float]


def make_automaton(
    next_state: StateRows,
    reference_logits: StateRows,
    score: StateScores,
    start: int | Sequence[int],
) -> Automaton:
    """Return the automaton that tables or functions describe; see `automaton_task`.

    Prompts with tables of their own get states of their own, so that one table holds all.

    Raises:
        ValueError: if a table has the wrong shape or holds what cannot be used.
    """
    starts = _integers("start", start)
    if starts.ndim > 1:
        raise ValueError(
            f"start must be a state, or one for each prompt, got the shape {list(starts.shape)}"
        )
    if callable(next_state):
        _check_states("start", starts, MAX_STATES)
        moves, known = _followed(next_state, np.atleast_1d(starts).tolist())
    else:
        moves = _integers("next_state", next_state)
        if moves.ndim not in (2, 3) or moves.shape[-1] < 2 or moves.shape[-2] < 1:
            raise ValueError(
                "next_state must be [S, V] or [P, S, V] with at least 1 state and 2 tokens, "
                f"got {list(moves.shape)}"
            )
        known = range(moves.shape[-2])
    shape = moves.shape[-2:]
    logits = _numbers("reference_logits", reference_logits, known, shape)
    scores = _numbers("score", score, known, shape[:1])
    moves, logits, scores, starts = _by_prompt(moves, logits, scores, starts)
    return Automaton(
        next_state=torch.from_numpy(moves),
        reference_logits=torch.from_numpy(logits).float(),
        score=torch.from_numpy(scores),
        starts=torch.from_numpy(starts),
    )


def check_horizon(horizon: Any) -> None:
    """Raise ValueError unless a horizon is an integer in [1, `MAX_HORIZON`]."""
    check_count("horizon", horizon)
    if horizon > MAX_HORIZON:
        raise ValueError(f"horizon must be at most {MAX_HORIZON}, got {horizon:.6g}")


def _by_prompt(
    moves: Array, logits: Array, scores: Array, starts: Array
) -> tuple[Array, Array, Array, Array]:
    """Return the tables [S', V], [S', V], [S'] and starts [P], S' = P · S where prompts differ."""
    num_states, vocab_size = moves.shape[-2:]
    _check_states("start", starts, num_states)
    moves = moves.copy()
    moves[..., EOS] = np.arange(num_states)
    _check_states("next_state", moves, num_states)
    own = {
        len(table) for table, axes in ((moves, 2), (logits, 2), (scores, 1)) if table.ndim > axes
    }
    counts = own | ({len(starts)} if starts.ndim else set())
    if len(counts) > 1:
        raise ValueError(
            f"tables and starts must be of one number of prompts, got {sorted(counts)}"
        )
    count = max(counts, default=1)
    starts = np.broadcast_to(starts, count).copy()
    if own:
        offsets = num_states * np.arange(count)
        starts = starts + offsets
        moves = np.broadcast_to(moves, (count, num_states, vocab_size)) + offsets[:, None, None]
        logits = np.broadcast_to(logits, (count, num_states, vocab_size))
        scores = np.broadcast_to(scores, (count, num_states))
    rows = -1, vocab_size
    return moves.reshape(rows), logits.reshape(rows).copy(), scores.reshape(-1).copy(), starts


def _followed(
    function: Callable[[int], Sequence[float]], starts: list[int]
) -> tuple[Array, list[int]]:
    """Return the table [S, V] of a function, and the states that can be reached, ascending.

    States that cannot be reached stay where they are.
    """
    rows: dict[int, Array] = {}
    waiting = sorted(set(starts))
    seen = set(waiting)
    width = 0
    while waiting:
        state = waiting.pop()
        row = rows[state] = _integers(
            f"next_state of state {state}", _called(function, "next_state", state)
        )
        width = width or row.size
        if row.shape != (width,) or width < 2:
            raise ValueError(
                f"next_state of state {state} must be a state for each of the V >= 2 tokens, "
                f"got {row.tolist()}"
            )
        _check_states(f"next_state of state {state}", row[1:], MAX_STATES)
        new = set(row[1:].tolist()) - seen
        seen |= new
        waiting.extend(sorted(new))
    known = sorted(rows)
    table = np.repeat(np.arange(known[-1] + 1)[:, None], width, axis=1)
    table[known] = np.stack([rows[state] for state in known])
    table[:, EOS] = np.arange(len(table))
    return table, known


def _integers(name: str, values: ArrayLike) -> Array:
    found = _array(name, values)
    if found.dtype.kind not in "iu":
        raise ValueError(f"{name} must be integers, got {found.dtype}")
    return found.astype(np.int64)


def _numbers(name: str, values: Any, states: Iterable[int], shape: tuple[int, ...]) -> Array:
    """Return a table of one row of numbers for each state, or one such table for each prompt."""
    if callable(values):
        table = np.zeros(shape)
        for state in states:
            row = _reals(f"{name} of state {state}", _called(values, name, state))
            if row.shape != shape[1:]:
                raise ValueError(
                    f"{name} of state {state} must be of shape {list(shape[1:])}, "
                    f"got {list(row.shape)}"
                )
            table[state] = row
    else:
        table = _reals(name, values)
    if table.shape != shape and (table.ndim != len(shape) + 1 or table.shape[1:] != shape):
        raise ValueError(
            f"{name} must be {list(shape)} as next_state says, or one such table for each prompt, "
            f"got {list(table.shape)}"
        )
    unusable = ~(np.abs(table) <= np.finfo(np.float32).max)
    if unusable.any():
        place = np.argwhere(unusable)[0].tolist()
        raise ValueError(
            f"{name} must be finite numbers of float32, got {table[tuple(place)]} at {place}"
        )
    return table


def _called(function: Callable[[int], Any], name: str, state: int) -> Any:
    """Return a function's value for a state; an error keeps its kind and names both."""
    try:
        return function(state)
    except Exception as error:
        error.add_note(f"raised by the function {name} for state {state}")
        raise


def _array(name: str, values: Any) -> Array:
    try:
        return np.asarray(values)
    except ValueError as error:
        raise ValueError(f"{name} must have rows of one length, got {values!r:.80}") from error


def _reals(name: str, values: Any) -> Array:
    found = _array(name, values)
    if found.dtype.kind not in "biuf":
        raise ValueError(f"{name} must be real numbers, got {values!r:.80}")
    return found.astype(np.float64)


def _check_states(name: str, states: Array, num_states: int) -> None:
    wrong = states[(states < 0) | (states >= num_states)]
    if wrong.size:
        raise ValueError(f"{name} must be states in [0, {num_states}), got {wrong.flat[0]}")
