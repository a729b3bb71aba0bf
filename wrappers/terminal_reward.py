"""The score at the end of the response."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
from gymnasium.utils import RecordConstructorArgs

from rlhf_env.rollout import Rollout
from wrappers.order import check_one_payer, token_mdp


class TerminalReward(gym.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Pay the score at the end, as the environment does: the name of the default.

    Example:
        >>> import gymnasium as gym, rlhf_env
        >>> from wrappers import TerminalReward
        >>> env = TerminalReward(gym.make("RLHF-v0", task="toy15", kl_coef=0.0))
        >>> _ = env.reset(seed=0)
        >>> [float(env.step(token)[1]) for token in (1, 2, 0)]
        [0.0, 0.0, 0.75]
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        """Wrap an environment.

        Raises:
            ValueError: if a density wrapper inside has moved the score elsewhere.
        """
        token_mdp(env, "TerminalReward")
        check_one_payer(env, "TerminalReward", "score")
        RecordConstructorArgs.__init__(self)
        gym.Wrapper.__init__(self, env)

    def rollout(self, rollout: Rollout) -> Rollout:
        """Return the episodes as they are."""
        return rollout
