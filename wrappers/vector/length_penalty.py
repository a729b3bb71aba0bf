"""A price for every token, for vector environments."""

from __future__ import annotations

from typing import Any

from gymnasium.vector import VectorEnv

from wrappers.length_penalty import length_penalty
from wrappers.vector.paid_reward import PaidReward


class LengthPenalty(PaidReward):
    """Twin of `wrappers.LengthPenalty`."""

    def __init__(self, env: VectorEnv[Any, Any, Any], coef: float, free_tokens: int = 0) -> None:
        """Wrap a vector environment; the arguments are those of `wrappers.LengthPenalty`."""
        super().__init__(env, length_penalty(env, coef, free_tokens))
