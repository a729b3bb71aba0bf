"""Holding the difficulty of a family of tasks fixed while the horizon grows."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from rlhf_env.checks import check_count, check_number
from rlhf_env.tasks.automaton_tables import Array, check_horizon

# Next states [S, V], the reference's logits [S, V] and scores [S].
Tables = tuple[Array, Array, Array]

EOS_LOGIT = -4.0
MAX_VOCABULARY = 100_000


def reference_score(tables: Tables, horizon: int) -> float:
    """Return what the reference scores on average, from state 0.

    Args:
        tables: next states [S, V], logits [S, V] and scores [S].
        horizon: T.
    """
    moves, logits, score = tables
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities = weights / weights.sum(axis=1, keepdims=True)
    ended = probabilities[:, 0] * score
    values = score
    for _ in range(horizon):
        values = ended + np.einsum("sv,sv->s", probabilities[:, 1:], values[moves[:, 1:]])
    return float(values[0])


def calibrated(
    tables: Callable[[float, float], Tables],
    horizon: int,
    base: int,
    eos_logit: float | None,
    causal_logit: float | None,
) -> Tables:
    """Return the tables with which the reference scores what it does at the base horizon.

    Args:
        tables: ``f(EOS logit, logit of the tokens that change the state)``.
        horizon: T.
        base: the horizon at which the plain logits are used.
        eos_logit: as given.
        causal_logit: as given; found where None.
    """
    eos = scaled_eos_logit(eos_logit, horizon, base)
    if causal_logit is not None or horizon == base:
        return tables(eos, causal_logit or 0.0)
    wanted = reference_score(tables(scaled_eos_logit(eos_logit, base, base), 0.0), base)

    def surplus(logit: float) -> float:
        return reference_score(tables(eos, logit), horizon) - wanted

    reach = 2.0 + 2.0 * abs(math.log(horizon / base))
    if surplus(-reach) * surplus(reach) > 0:
        raise ValueError(
            f"no logit makes a horizon of {horizon} as difficult as one of {base}; "
            "give the logit, or take another horizon"
        )
    return tables(eos, _root(surplus, -reach, reach))


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    """Return where a function changes its sign between two numbers, by halving."""
    is_rising = function(high) > 0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if (function(middle) > 0) == is_rising else (middle, high)
    return (low + high) / 2


def scaled_eos_logit(given: float | None, horizon: int, base: int) -> float:
    """Return a logit with which about as many responses end early as by −4 at the base horizon."""
    if given is None:
        return EOS_LOGIT - math.log(horizon / base)
    check_number("eos_logit", given)
    return float(given)


def check_tokens(horizon: int, vocab_size: int, **causal: int) -> None:
    """Refuse sizes that do not fit together.

    Raises:
        ValueError: naming the size that cannot be.
    """
    check_horizon(horizon)
    check_count("vocab_size", vocab_size, 2)
    if vocab_size > MAX_VOCABULARY:
        raise ValueError(f"vocab_size must be at most {MAX_VOCABULARY}, got {vocab_size}")
    for name, count in causal.items():
        check_count(name, count)
        is_token = name != "depth"
        if is_token and count >= vocab_size:
            raise ValueError(
                f"{name} must be at most {vocab_size - 1}, the tokens beside EOS, got {count}"
            )
        if is_token and name != "symbols" and count > horizon:
            raise ValueError(f"{name} must be at most the horizon {horizon}, got {count}")
