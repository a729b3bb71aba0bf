"""A price for saying the same again, for vector environments."""

from __future__ import annotations

from typing import Any

from gymnasium.vector import VectorEnv

from wrappers.repetition_penalty import repetition_penalty
from wrappers.vector.paid_reward import PaidReward


class RepetitionPenalty(PaidReward):
    """Twin of `wrappers.RepetitionPenalty`."""

    def __init__(self, env: VectorEnv[Any, Any, Any], coef: float, n: int = 3) -> None:
        """Wrap a vector environment; the arguments are those of `wrappers.RepetitionPenalty`."""
        super().__init__(env, repetition_penalty(env, coef, n))
