"""The score in parts of k tokens, or of one."""

from __future__ import annotations

from functools import partial
from typing import Any

import gymnasium as gym
import torch
from gymnasium.utils import RecordConstructorArgs
from gymnasium.vector import VectorEnv
from torch import Tensor

from rlhf_env.checks import check_count
from wrappers.reward_terms.density import Density, ScoredPrefixes
from wrappers.reward_terms.density_wrapper import DensityWrapper, VectorDensityWrapper


class EveryK(DensityWrapper, RecordConstructorArgs):
    """Give the score in parts: every k tokens, and at the end, the rise since the last part.

    The empty prefix counts as 0, so the parts add up to the score. Every part but the last is a
    difference of prefix scores; the last is the environment's own reward for the whole response (a
    penalty for a missing EOS included) minus the earlier parts. An episode that is truncated by
    ``length_limit="bootstrap"`` has no last part: the value of its last state takes its place.

    Example:
        >>> import gymnasium as gym, rlhf_env
        >>> from wrappers import EveryK
        >>> env = EveryK(gym.make("RLHF-v0", task="toy15", kl_coef=0.0), k=2)
        >>> _ = env.reset(seed=0)
        >>> [float(env.step(token)[1]) for token in (1, 2, 0)]
        [0.0, 0.5, 0.25]
    """

    def __init__(self, env: gym.Env[Any, Any], k: int) -> None:
        """Wrap an environment.

        Args:
            env: an ``RLHF-v0`` whose steps are single tokens.
            k: tokens per part, >= 1.

        Raises:
            ValueError: if k is out of range, the reward cannot score prefixes, or the order of
                wrappers makes no sense.
        """
        density = every_k(k)
        RecordConstructorArgs.__init__(self, k=k)
        super().__init__(env, density)


class VectorEveryK(VectorDensityWrapper, RecordConstructorArgs):
    """Vector version of `EveryK`: each of N rows gets its score in parts of k tokens.

    Example:
        >>> import gymnasium as gym, numpy as np, rlhf_env
        >>> from wrappers.vector import EveryK
        >>> envs = gym.make_vec("RLHF-v0", num_envs=2, task="toy15", kl_coef=0.0)
        >>> envs = EveryK(envs, k=2)
        >>> _ = envs.reset(seed=0)
        >>> [envs.step(np.array(tokens))[1].tolist() for tokens in ([1, 1], [2, 0])]
        [[0.0, 0.0], [0.5, 1.25]]
    """

    def __init__(self, env: VectorEnv[Any, Any, Any], k: int) -> None:
        """Wrap a vector environment.

        Args:
            env: ``gym.make_vec("RLHF-v0")`` whose steps are single tokens.
            k: tokens per part, >= 1.

        Raises:
            ValueError: if k is out of range, the reward cannot score prefixes, or the order of
                wrappers makes no sense.
        """
        density = every_k(k)
        RecordConstructorArgs.__init__(self, k=k)
        super().__init__(env, density)


class PrefixDifference(DensityWrapper, RecordConstructorArgs):
    """Give each token the rise of the prefix score that it causes: `EveryK` with k = 1.

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


class VectorPrefixDifference(VectorDensityWrapper, RecordConstructorArgs):
    """Vector version of `PrefixDifference`: each of N rows, `VectorEveryK` with k = 1.

    Example:
        >>> import gymnasium as gym, numpy as np, rlhf_env
        >>> from wrappers.vector import PrefixDifference
        >>> envs = gym.make_vec("RLHF-v0", num_envs=2, task="toy15", kl_coef=0.0)
        >>> envs = PrefixDifference(envs)
        >>> _ = envs.reset(seed=0)
        >>> [envs.step(np.array(tokens))[1].tolist() for tokens in ([1, 1], [2, 0])]
        [[1.0, 1.0], [-0.5, 0.25]]
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
        super().__init__(env, every_k(1))


def every_k(k: int) -> Density:
    """Return the density that gives score differences every k tokens.

    Raises:
        ValueError: if k is not an integer >= 1.
    """
    check_count("k", k)
    return Density(name="score", rewards=partial(score_differences, k=k), every=k)


def score_differences(scored: ScoredPrefixes, k: int) -> Tensor:
    """Return the score term of each step if the score comes every k tokens, [B, T].

    The term of step t is phi(t) − phi(s) where t is a multiple of k and s = t − k, or where it ends
    the episode and s is the last multiple of k before t; phi(0) = 0, and phi(end) is the
    environment's own score term. The sum over an episode is that term.
    """
    phi = torch.cat([torch.zeros_like(scored.phi[:, :1]), scored.phi[:, 1:]], dim=1)
    starts = (scored.counts - 1) // k * k
    after = torch.where(scored.is_end, scored.score_term, phi[:, 1:])
    is_due = (scored.counts % k == 0) | scored.is_end
    return torch.where(is_due, after - phi[:, starts], 0.0)
