"""TorchRL's and Stable-Baselines3's advantage estimation."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from rlhf_env.testing import TrainerLoss


def torchrl() -> dict[str, TrainerLoss]:
    """Return TorchRL's functions by name."""
    from torchrl.objectives.value.functional import generalized_advantage_estimate

    def gae(
        rewards: Tensor,
        values: Tensor,
        mask: Tensor,
        bootstrap: Tensor,
        gamma: float,
        gae_lambda: float,
    ) -> Tensor:
        """Its masks are the flags of the end of an episode."""
        last = mask.sum(1, keepdim=True) - 1
        is_last = torch.arange(mask.shape[1]) == last
        following = torch.cat([values[:, 1:], torch.zeros_like(values[:, :1])], dim=1)
        following = torch.where(is_last, bootstrap[:, None], following)
        advantages, _ = generalized_advantage_estimate(
            gamma,
            gae_lambda,
            values[..., None],
            following[..., None],
            rewards[..., None],
            is_last[..., None],
            (is_last & (bootstrap == 0)[:, None])[..., None],
        )
        return advantages[..., 0]

    return {"`generalized_advantage_estimate`": TrainerLoss(function=gae, kind="gae")}


def stable_baselines3() -> dict[str, TrainerLoss]:
    """Return Stable-Baselines3's functions by name."""
    from gymnasium.spaces import Box, Discrete
    from stable_baselines3.common.buffers import RolloutBuffer

    def one_row(
        rewards: Tensor, values: Tensor, bootstrap: Tensor, gamma: float, gae_lambda: float
    ) -> Tensor:
        buffer = RolloutBuffer(
            len(rewards), Box(0, 1), Discrete(2), "cpu", gae_lambda=gae_lambda, gamma=gamma
        )
        buffer.rewards[:, 0], buffer.values[:, 0] = rewards.numpy(), values.numpy()
        # Its PPO adds gamma V of the last state to the reward of a truncated episode.
        buffer.rewards[-1, 0] += gamma * float(bootstrap)
        buffer.compute_returns_and_advantage(torch.zeros(1), np.array([True]))
        return torch.from_numpy(buffer.advantages[:, 0])

    def gae(
        rewards: Tensor,
        values: Tensor,
        mask: Tensor,
        bootstrap: Tensor,
        gamma: float,
        gae_lambda: float,
    ) -> Tensor:
        """Each row by itself: its buffer holds no padding."""
        found = torch.zeros_like(rewards)
        for row, is_step in enumerate(mask):
            given = rewards[row, is_step], values[row, is_step], bootstrap[row]
            found[row, is_step] = one_row(*given, gamma, gae_lambda).to(found.dtype)
        return found

    return {"`RolloutBuffer`": TrainerLoss(function=gae, kind="gae")}
