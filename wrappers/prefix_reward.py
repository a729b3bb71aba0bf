"""The prefix score itself at every step: a control that is known to be biased."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import torch
from gymnasium.utils import RecordConstructorArgs
from torch import Tensor

from wrappers.density import Density, ScoredPrefixes
from wrappers.reward_density import RewardDensity


class PrefixReward(RewardDensity, RecordConstructorArgs):
    """Pay the score of the whole prefix at every step.

    This changes what is optimal: an early good token is paid again at every later step, so long
    responses win. It is here as the control that shows what `wrappers.EveryK` avoids.

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


def prefix_reward() -> Density:
    """Return the density that pays raw prefix scores."""
    return Density(term="score", terms=raw_prefix_scores)


def raw_prefix_scores(scored: ScoredPrefixes) -> Tensor:
    """Return phi(t) at step t, and at the end what the end is paid, [B, T]."""
    return torch.where(scored.is_end, scored.paid, scored.phi[:, 1:])
