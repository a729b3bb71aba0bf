"""What the density wrappers of vector environments have in common."""

from __future__ import annotations

from typing import Any

from gymnasium.vector import VectorEnv

from wrappers.density import Density
from wrappers.prefix_scores import PrefixScorer
from wrappers.reward_density import density_pay
from wrappers.vector.paid_reward import PaidReward


class RewardDensity(PaidReward):
    """Rows whose "score" or "shaping" term is paid by a density."""

    def __init__(
        self, env: VectorEnv[Any, Any, Any], density: Density, potential: PrefixScorer | None = None
    ) -> None:
        """Wrap a vector environment.

        Args:
            env: ``gym.make_vec("RLHF-v0")`` whose steps are single tokens, or any if the density
                pays actions.
            density: what is paid when.
            potential: scores prefixes in place of the task's reward.

        Raises:
            ValueError: if the reward cannot score prefixes, or the order makes no sense.
        """
        super().__init__(env, density_pay(env, type(self).__name__, density, potential))
