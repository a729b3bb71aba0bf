"""An environment that is checked: made anew as often as a check wants."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium as gym

from rlhf_env.testing.episodes import Step, play

Make = Callable[[], gym.Env[Any, Any]]
SEEDS = range(6)


@dataclass(frozen=True)
class EnvCase:
    """An environment that can be made again and again."""

    make: Make

    def episodes(self) -> list[list[Step]]:
        """Return the steps of some episodes of one environment."""
        env = self.make()
        return [play(env, seed)[2] for seed in SEEDS]

    def steps(self) -> list[Step]:
        """Return the steps of all of them."""
        return [step for steps in self.episodes() for step in steps]


def env_case(make: Make | str) -> EnvCase:
    """Return the environment that an id or a function makes."""
    if isinstance(make, str):
        return EnvCase(lambda: gym.make(make))
    if isinstance(make, gym.Env):
        raise ValueError(
            f"an environment is checked by making it again, got {type(make).__name__} itself; "
            "give a function that makes it"
        )
    return EnvCase(make)
