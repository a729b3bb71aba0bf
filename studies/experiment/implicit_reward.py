"""The density "implicit": every token is paid what it is worth to the exact optimum."""

from __future__ import annotations

import copy
from typing import Any

import torch
from gymnasium.vector import VectorEnv

from rlhf_env import exact
from rlhf_env.task import Task
from rlhf_env.tasks.table_lm import TableLM
from wrappers import vector


def with_implicit_reward(
    envs: VectorEnv[Any, Any, Any], task: Task, kl_coef: float
) -> VectorEnv[Any, Any, Any]:
    """Return the environment that pays each token Q*(s, a) − V*(s) in place of the score.

    Args:
        envs: of the task.
        task: one whose reference is a table and which has one prompt.
        kl_coef: beta, > 0.

    Raises:
        ValueError: if the task is another, or beta is 0.
    """
    return vector.ImplicitReward(envs, optimal_policy(task, kl_coef), kl_coef, keep_total=False)


def optimal_policy(task: Task, kl_coef: float) -> TableLM:
    """Return the exact optimum of a task as a model.

    Raises:
        ValueError: if the task has none, or beta is 0.
    """
    reference = task.reference
    if not isinstance(reference, TableLM) or len(task.prompts) != 1 or kl_coef <= 0:
        raise ValueError(
            "the density implicit needs the exact optimum as a table: a task of one prompt, as "
            f"toy15, and kl_coef > 0, got {task.name!r} and {kl_coef:g}; choose another density, "
            "or wrap the environment in wrappers.ImplicitReward with a policy of your own"
        )
    found = exact.solve(task, kl_coef).policy
    policy = copy.deepcopy(reference)
    columns = torch.tensor(list(found.values()), dtype=torch.float64).log().T
    with torch.no_grad():
        policy.lm_head.weight.copy_(columns)
    return policy
