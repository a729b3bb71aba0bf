"""A stack of wrappers that does not look like one."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np


class AsOne(gym.Env[Any, Any]):
    """An environment and its wrappers as one environment.

    Gymnasium's checker warns of anything that is a wrapper; of this it says only what is wrong.
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        """Stand for an environment."""
        self.env = env
        self.spec, self.metadata, self.render_mode = env.spec, env.metadata, env.render_mode
        self.observation_space, self.action_space = env.observation_space, env.action_space

    @property
    def _np_random(self) -> np.random.Generator | None:  # type: ignore[override]
        return self.env.unwrapped._np_random

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Hand on the seed and the options."""
        return self.env.reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Hand on the action."""
        return self.env.step(action)

    def render(self) -> Any:
        """Hand on the picture."""
        return self.env.render()

    def close(self) -> None:
        """Close what is inside."""
        self.env.close()
