"""The score in pieces of one token."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
from gymnasium.utils import RecordConstructorArgs

from wrappers.every_k import every_k
from wrappers.reward_density import RewardDensity


class PrefixDifference(RewardDensity, RecordConstructorArgs):
    """Pay each token what it has raised the prefix score by: `wrappers.EveryK` with k = 1.

    Example:
        >>> import gymnasium as gym, rlhf_env
        >>> from wrappers import PrefixDifference
        >>> env = PrefixDifference(gym.make("RLHF-v0", task="toy15", kl_coef=0.0))
        >>> _ = env.reset(seed=0)
        >>> [float(env.step(token)[1]) for token in (1, 2, 0)]
        [1.0, -0.5, 0.25]
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        """Wrap an environment.

        Args:
            env: an ``RLHF-v0`` whose steps are single tokens.

        Raises:
            ValueError: if the reward cannot score prefixes, or the order of wrappers makes no
                sense.
        """
        RecordConstructorArgs.__init__(self)
        super().__init__(env, every_k(1))
