"""The score in pieces of k tokens."""

from __future__ import annotations

from functools import partial
from typing import Any

import gymnasium as gym
import torch
from gymnasium.utils import RecordConstructorArgs
from torch import Tensor

from rlhf_env.checks import check_count
from wrappers.density import Density, ScoredPrefixes
from wrappers.reward_density import RewardDensity


class EveryK(RewardDensity, RecordConstructorArgs):
    """Pay every k tokens, and at the end, what the score has risen by since the last piece.

    The empty prefix counts as 0, so the pieces add up to the score. Every piece but the last is a
    difference of prefix scores; the last is what the environment pays for the whole response (a
    penalty for a missing EOS included) less the pieces before. An episode that is cut short by
    ``length_limit="bootstrap"`` has no last piece: the value of its last state speaks for it.

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
            k: tokens per piece, >= 1.

        Raises:
            ValueError: if k is out of range, the reward cannot score prefixes, or the order of
                wrappers makes no sense.
        """
        density = every_k(k)
        RecordConstructorArgs.__init__(self, k=k)
        super().__init__(env, density)


def every_k(k: int) -> Density:
    """Return the density that pays score differences every k tokens.

    Raises:
        ValueError: if k is not an integer >= 1.
    """
    check_count("k", k)
    return Density(term="score", terms=partial(score_differences, k=k), every=k)


def score_differences(scored: ScoredPrefixes, k: int) -> Tensor:
    """Return what each step pays if the score is paid every k tokens, [B, T].

    Step t pays phi(t) − phi(s) where t is a multiple of k and s = t − k, or where it ends the
    episode and s is the last multiple of k before t; phi(0) = 0, and phi(end) is what the end is
    paid. The sum over an episode is what its end is paid.
    """
    phi = torch.cat([torch.zeros_like(scored.phi[:, :1]), scored.phi[:, 1:]], dim=1)
    starts = (scored.counts - 1) // k * k
    after = torch.where(scored.is_end, scored.paid, phi[:, 1:])
    is_due = (scored.counts % k == 0) | scored.is_end
    return torch.where(is_due, after - phi[:, starts], 0.0)
