"""The prefix score itself at every step, for vector environments."""

from __future__ import annotations

from typing import Any

from gymnasium.vector import VectorEnv

from wrappers.prefix_reward import prefix_reward
from wrappers.vector.reward_density import RewardDensity


class PrefixReward(RewardDensity):
    """Twin of `wrappers.PrefixReward`."""

    def __init__(self, env: VectorEnv[Any, Any, Any]) -> None:
        """Wrap a vector environment."""
        super().__init__(env, prefix_reward())
