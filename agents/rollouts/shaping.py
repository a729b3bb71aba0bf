"""Potential-based shaping keeps the optimal policy only under the agent's own discount."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from agents.settings.discount import discount_of
from rlhf_env.task import Task

_TERM = "shaping"


def check_turn_settings(task: Task, config: Any) -> None:
    """Raise ValueError if a setting is about turns and the task has none."""
    for name in ("discount_unit", "group_baseline"):
        if getattr(config, name, None) == "turn" and not task.has_turns:
            raise ValueError(
                f'{name}="turn" needs a task with turns, got {task.name!r} without; give the Task '
                f"end_of_turn_id or respond, or leave {name} out"
            )


def warn_of_other_discount(envs: Any, config: Any) -> None:
    """Warn if a wrapper shapes rewards with a discount other than the agent's.

    With gamma * Phi(s') - Phi(s) per decision the terms telescope, and the optimal policy stays
    what it was, only where returns are discounted by the same gamma (Ng, Harada and Russell,
    1999). Where it is the same, the order of shaping and macro actions is checked by the wrapper.

    Args:
        envs: with or without wrappers; one that shapes has ``shaping_gamma`` and
            ``shaping_unit``.
        config: the agent's settings.
    """
    gamma, unit = getattr(config, "gamma", None), discount_of(config)[1]
    own = gamma.get(_TERM) if isinstance(gamma, Mapping) else gamma
    if own is None:
        return
    for other, per in _shaping_discounts(envs):
        if other != own or (own != 1.0 and per != unit):
            warnings.warn(
                f"PotentialShaping discounts by gamma = {other:g} per {per}, the agent by {own:g} "
                f"per {unit}: the shaping then changes which policy is optimal; give both the same",
                UserWarning,
                stacklevel=_level_of_caller(),
            )


def _level_of_caller() -> int:
    """Return how many frames above whoever calls `warnings.warn` here the user's code is."""
    level, frame = 1, sys._getframe(1)
    while frame is not None and str(frame.f_globals.get("__name__")).startswith("agents."):
        level, frame = level + 1, frame.f_back
    return level


def _shaping_discounts(envs: Any) -> Iterator[tuple[float, str]]:
    layer = envs
    while layer is not layer.unwrapped:
        # Of this layer alone: Gymnasium's wrappers hand on the attributes of inner ones.
        if "shaping_gamma" in vars(layer):
            yield layer.shaping_gamma, getattr(layer, "shaping_unit", "decision")
        layer = layer.env
