"""What a discount of turns is in a recursion over tokens."""

from __future__ import annotations

import numpy as np

from rlhf_env.checks import check_choice
from rlhf_env.defaults import DISCOUNT_UNITS
from rlhf_env.exact.bellman import Array
from rlhf_env.exact.by_state import automaton_of
from rlhf_env.task import Task


def token_discounts(task: Task, gamma: float, unit: str) -> Array:
    """Return the discount of what follows each token, [V].

    Args:
        task: gives the token that ends a turn.
        gamma: discount.
        unit: what it is per, one of `rlhf_env.defaults.DISCOUNT_UNITS`.

    Raises:
        ValueError: if the unit is another, or there are no turns in the task, or it is solved by
            states, which do not tell them.
    """
    check_choice("discount_unit", unit, DISCOUNT_UNITS)
    if unit == "decision":
        return np.full(task.vocab_size, gamma)
    if not task.has_turns or automaton_of(task) is not None:
        raise ValueError(
            f'discount_unit="turn" needs a task of text with turns, got {task.name!r}; give the '
            'Task end_of_turn_id or respond, or take discount_unit="decision"'
        )
    discounts = np.ones(task.vocab_size)
    discounts[task.turn_end_id] = gamma
    return discounts
