"""The environment of a setting: an ablation's, and the biased control that ablations leave out."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from studies.ablation.grid import RunSettings
from studies.ablation.runs import make_envs

if TYPE_CHECKING:
    from gymnasium.vector import VectorEnv

    from rlhf_env import Task


def study_envs(run: RunSettings, task: Task) -> VectorEnv[Any, Any, Any]:
    """Return the vector environment with the run's density and granularity."""
    if run.density != "prefix_reward":
        return make_envs(run, task)
    from wrappers import vector

    return vector.PrefixReward(make_envs(dataclasses.replace(run, density="terminal"), task))
