"""The environment of a setting: an ablation's, and the biased control that ablations leave out."""

from __future__ import annotations

import dataclasses
from typing import Any

from gymnasium.vector import VectorEnv

from rlhf_env import Task
from studies.experiment.build import make_envs
from studies.experiment.grid import RunSettings
from wrappers import vector


def study_envs(run: RunSettings, task: Task) -> VectorEnv[Any, Any, Any]:
    """Return the vector environment with the run's density and granularity."""
    if run.density != "prefix_reward":
        return make_envs(run, task)

    return vector.PrefixReward(make_envs(dataclasses.replace(run, density="terminal"), task))
