"""A price that grows as a response nears its limit, for vector environments."""

from __future__ import annotations

from typing import Any

from gymnasium.vector import VectorEnv

from wrappers.overlong_penalty import overlong_penalty
from wrappers.vector.paid_reward import PaidReward


class OverlongPenalty(PaidReward):
    """Twin of `wrappers.OverlongPenalty`."""

    def __init__(
        self,
        env: VectorEnv[Any, Any, Any],
        cache_tokens: int,
        max_tokens: int | None = None,
        coef: float = 1.0,
    ) -> None:
        """Wrap a vector environment; the arguments are those of `wrappers.OverlongPenalty`."""
        super().__init__(env, overlong_penalty(env, cache_tokens, max_tokens, coef))
