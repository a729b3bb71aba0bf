"""Wrappers that show another info, and leave the rest as it is."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import gymnasium as gym
from torch import Tensor

from rlhf_env.rollout import Rollout
from wrappers.stack.vector_base import VectorBase


class InfoView(gym.Wrapper[Any, Any, Any, Any]):
    """Shows another info at every reset and step."""

    @abstractmethod
    def shown(self, info: dict[str, Any]) -> dict[str, Any]:
        """Return the info that takes the place of one of the environment's."""

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start an episode."""
        observation, info = self.env.reset(seed=seed, options=options)
        return observation, self.shown(info)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Take a step."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        return observation, float(reward), terminated, truncated, self.shown(info)

    def rollout(self, rollout: Rollout) -> Rollout:
        """Return the episodes unchanged."""
        return rollout


class VectorInfoView(VectorBase):
    """Vector version of `InfoView`."""

    @abstractmethod
    def shown(self, info: dict[str, Any], tensors: bool) -> dict[str, Any]:
        """Return the info that takes the place of one of the environment's.

        Args:
            info: of all rows.
            tensors: whether its values are to be tensors, as in the environment's own.
        """

    def reset(
        self, *, seed: Any = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start an episode in all rows, or in some."""
        observations, info = self.env.reset(seed=seed, options=options)
        return observations, self.shown(info, isinstance(info["_prompt_index"], Tensor))

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Take a step in every row.

        Returns:
            Observations, rewards [N], terminated [N], truncated [N], info.
        """
        observations, rewards, terminated, truncated, info = self.env.step(actions)
        info = self.shown(info, isinstance(rewards, Tensor))
        return observations, rewards, terminated, truncated, info

    def rollout(self, rollout: Rollout) -> Rollout:
        """Return the episodes unchanged."""
        return rollout
