"""The score at the end of the response."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
from gymnasium.utils import RecordConstructorArgs
from gymnasium.vector import VectorEnv

from rlhf_env.rollout import Rollout
from wrappers.stack.order import DEFAULT_REWARD, check_order
from wrappers.stack.vector_base import VectorBase


class TerminalReward(gym.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Give the score at the end, as the environment does: the name of the default.

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

        Args:
            env: an ``RLHF-v0``.

        Raises:
            ValueError: if a density inside has moved the score elsewhere.
        """
        check_order(env, "TerminalReward", DEFAULT_REWARD, term="score")
        RecordConstructorArgs.__init__(self)
        gym.Wrapper.__init__(self, env)

    def rollout(self, rollout: Rollout) -> Rollout:
        """Return the episodes unchanged."""
        return rollout


class VectorTerminalReward(VectorBase, RecordConstructorArgs):
    """Vector version of `TerminalReward`: the score of each of N rows is at its end.

    Example:
        >>> import gymnasium as gym, numpy as np, rlhf_env
        >>> from wrappers.vector import TerminalReward
        >>> envs = TerminalReward(gym.make_vec("RLHF-v0", num_envs=2, task="toy15", kl_coef=0.0))
        >>> _ = envs.reset(seed=0)
        >>> [envs.step(np.array(tokens))[1].tolist() for tokens in ([1, 1], [2, 0])]
        [[0.0, 0.0], [0.0, 1.25]]
    """

    def __init__(self, env: VectorEnv[Any, Any, Any]) -> None:
        """Wrap a vector environment.

        Args:
            env: ``gym.make_vec("RLHF-v0")``.

        Raises:
            ValueError: if a density inside has moved the score elsewhere.
        """
        check_order(env, "TerminalReward", DEFAULT_REWARD, term="score")
        RecordConstructorArgs.__init__(self)
        super().__init__(env)

    def rollout(self, rollout: Rollout) -> Rollout:
        """Return the episodes unchanged."""
        return rollout
