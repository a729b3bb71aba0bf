"""The prefix score itself at every step: a control that is known to be biased."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import torch
from gymnasium.utils import RecordConstructorArgs
from gymnasium.vector import VectorEnv
from torch import Tensor

from wrappers.reward_terms.density import Density, ScoredPrefixes
from wrappers.reward_terms.density_wrapper import DensityWrapper, VectorDensityWrapper


class PrefixReward(DensityWrapper, RecordConstructorArgs):
    """Give the score of the whole prefix at every step.

    This changes what is optimal: a good token at the start is rewarded again at every later step,
    so long responses win. It is the control that shows what `wrappers.EveryK` avoids.

    Example:
        >>> import gymnasium as gym, rlhf_env
        >>> from wrappers import PrefixReward
        >>> env = PrefixReward(gym.make("RLHF-v0", task="toy15", kl_coef=0.0))
        >>> _ = env.reset(seed=0)
        >>> [float(env.step(token)[1]) for token in (1, 2, 0)]
        [1.0, 0.5, 0.75]
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
        super().__init__(env, prefix_reward())


class VectorPrefixReward(VectorDensityWrapper, RecordConstructorArgs):
    """Vector version of `PrefixReward`: each of N rows gets the score of its prefix at every step.

    Example:
        >>> import gymnasium as gym, numpy as np, rlhf_env
        >>> from wrappers.vector import PrefixReward
        >>> envs = PrefixReward(gym.make_vec("RLHF-v0", num_envs=2, task="toy15", kl_coef=0.0))
        >>> _ = envs.reset(seed=0)
        >>> [envs.step(np.array(tokens))[1].tolist() for tokens in ([1, 1], [2, 0])]
        [[1.0, 1.0], [0.5, 1.25]]
    """

    def __init__(self, env: VectorEnv[Any, Any, Any]) -> None:
        """Wrap a vector environment.

        Args:
            env: ``gym.make_vec("RLHF-v0")`` whose steps are single tokens.

        Raises:
            ValueError: if the reward cannot score prefixes, or the order of wrappers makes no
                sense.
        """
        RecordConstructorArgs.__init__(self)
        super().__init__(env, prefix_reward())


def prefix_reward() -> Density:
    """Return the density that gives raw prefix scores."""
    return Density(name="score", rewards=raw_prefix_scores)


def raw_prefix_scores(scored: ScoredPrefixes) -> Tensor:
    """Return phi(t) at step t, and the environment's own score term at the end, [B, T]."""
    return torch.where(scored.is_end, scored.score_term, scored.phi[:, 1:])
