"""Potential-based shaping keeps the optimal policy only under the agent's own discount."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from agents.settings.discount import Discount

_TERM = "shaping"


def warn_of_other_discount(envs: Any, gamma: Discount | None) -> None:
    """Warn if a wrapper shapes rewards with a discount other than the agent's.

    With gamma * Phi(s') - Phi(s) per decision the terms telescope, and the optimal policy stays
    what it was, only where returns are discounted by the same gamma (Ng, Harada and Russell,
    1999). Where it is the same, the order of shaping and macro actions is checked by the wrapper.

    Args:
        envs: with or without wrappers; one that shapes has ``shaping_gamma``.
        gamma: the agent's discount per decision, or one per reward term; None if not known.
    """
    own = gamma.get(_TERM) if isinstance(gamma, Mapping) else gamma
    if own is None:
        return
    for other in _shaping_discounts(envs):
        if other != own:
            warnings.warn(
                f"PotentialShaping discounts by gamma = {other:g}, the agent by {own:g}: the "
                "shaping then changes which policy is optimal; give both the same gamma",
                UserWarning,
                stacklevel=_level_of_caller(),
            )


def _level_of_caller() -> int:
    """Return how many frames above whoever calls `warnings.warn` here the user's code is."""
    level, frame = 1, sys._getframe(1)
    while frame is not None and str(frame.f_globals.get("__name__")).startswith("agents."):
        level, frame = level + 1, frame.f_back
    return level


def _shaping_discounts(envs: Any) -> Iterator[float]:
    layer = envs
    while layer is not layer.unwrapped:
        # Of this layer alone: Gymnasium's wrappers hand on the attributes of inner ones.
        if "shaping_gamma" in vars(layer):
            yield layer.shaping_gamma
        layer = layer.env
