"""The score in pieces of k tokens, for vector environments."""

from __future__ import annotations

from typing import Any

from gymnasium.vector import VectorEnv

from wrappers.every_k import every_k
from wrappers.vector.reward_density import RewardDensity


class EveryK(RewardDensity):
    """Twin of `wrappers.EveryK`."""

    def __init__(self, env: VectorEnv[Any, Any, Any], k: int) -> None:
        """Wrap a vector environment; the arguments are those of `wrappers.EveryK`."""
        super().__init__(env, every_k(k))
