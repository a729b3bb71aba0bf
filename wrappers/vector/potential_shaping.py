"""Potential-based shaping, for vector environments."""

from __future__ import annotations

from typing import Any

from gymnasium.vector import VectorEnv

from wrappers.potential_shaping import potential_shaping
from wrappers.prefix_scores import PrefixScorer
from wrappers.vector.reward_density import RewardDensity


class PotentialShaping(RewardDensity):
    """Twin of `wrappers.PotentialShaping`."""

    def __init__(
        self, env: VectorEnv[Any, Any, Any], gamma: float, potential: PrefixScorer | None = None
    ) -> None:
        """Wrap a vector environment; the arguments are those of `wrappers.PotentialShaping`."""
        density = potential_shaping(gamma)
        super().__init__(env, density, potential)
        self.shaping_gamma = density.gamma
