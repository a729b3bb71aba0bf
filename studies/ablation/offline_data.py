"""The comparisons that a run learns from where their number is an axis of the grid."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import gymnasium as gym

from agents.preference.drawn import drawn_pairs
from agents.preference.groups import ResponseGroup
from agents.rollouts.sampling_plan import Stream
from rlhf_env.rewards.own_randomness import kept_randomness
from studies.experiment.build import budget_task
from studies.experiment.grid import Budget, RunSettings

# Held out: enough for an accuracy to about 0.03.
HELD_OUT = 256
# Episodes at once; many small ones are cheap.
ROWS = 256


def offline_data(run: RunSettings) -> dict[str, Any]:
    """Return an agent's arguments: pairs to learn from, and pairs held out.

    All runs of one task, size and seed get the same pairs, whatever their other settings are. The
    held-out pairs are about the evaluation prompts.

    Returns:
        ``preferences`` and ``held_out``; nothing for a run that makes its own episodes.

    Raises:
        ValueError: if the reference hardly ever writes two different responses.
    """
    if run.preference_pairs is None:
        return {}
    return {
        "preferences": _pairs(run.budget, run.seed, run.preference_pairs, is_held_out=False),
        "held_out": _pairs(run.budget, run.seed, HELD_OUT, is_held_out=True),
    }


# Agents of one seed follow each other in a grid, and may run in one process.
@functools.lru_cache(maxsize=16)
def _pairs(budget: Budget, seed: int, count: int, *, is_held_out: bool) -> list[ResponseGroup]:
    task = budget_task(budget, kl_coef=None)
    if is_held_out:
        task = dataclasses.replace(task, prompts=task.eval_prompts)
    envs = gym.make_vec("RLHF-v0", num_envs=ROWS, task=task)
    with kept_randomness():
        return drawn_pairs(envs, count, (seed, Stream.REFERENCE_PAIRS, int(is_held_out)))
