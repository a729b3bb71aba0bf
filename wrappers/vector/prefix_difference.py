"""The score in pieces of one token, for vector environments."""

from __future__ import annotations

from typing import Any

from gymnasium.vector import VectorEnv

from wrappers.every_k import every_k
from wrappers.vector.reward_density import RewardDensity


class PrefixDifference(RewardDensity):
    """Twin of `wrappers.PrefixDifference`."""

    def __init__(self, env: VectorEnv[Any, Any, Any]) -> None:
        """Wrap a vector environment."""
        super().__init__(env, every_k(1))
