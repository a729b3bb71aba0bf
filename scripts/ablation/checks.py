"""Refusals of what a person typed, before a model is loaded or a file is made."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from scripts.ablation.agent_names import (
    BUILT_IN,
    agent_fields,
    did_you_mean,
    import_object,
    is_custom,
)
from scripts.ablation.grid import Axes, Budget

DENSITIES = ("terminal", "every_k", "potential")
GRANULARITIES = ("token", "macro_N", "bandit")
EXAMPLES = {"every_k": "every_k, every_8 (any number)", "macro_N": "macro_4 (any number)"}
NUMBERED = {"every_k": r"every_[1-9][0-9]{0,5}", "macro_N": r"macro_[1-9][0-9]{0,5}"}


def check_grid(axes: Axes, budget: Budget) -> None:
    """Refuse settings that cannot be run.

    Raises:
        ValueError: one sentence with what is wrong, what was given, and what would be right.
    """
    check_axes(axes)
    check_budget(budget)
    for agent in axes.agent:
        if "group_size" in agent_fields(agent):
            for size in axes.group_size:
                _check_group(size, budget.episodes_per_update)
        if agent in BUILT_IN and budget.episodes_per_update % BUILT_IN[agent].minibatches:
            raise ValueError(
                f"episodes_per_update must be a multiple of {BUILT_IN[agent].minibatches}, the "
                f"minibatches of {agent}, got {budget.episodes_per_update}"
            )
    check_task(budget.task)


def check_axes(axes: Axes) -> None:
    """Refuse axes that are empty, repeat a value, or hold a value out of range."""
    for name in ("agent", "gamma", "density", "granularity", "gae_lambda", "group_size"):
        _check_values(name, getattr(axes, name), may_be_empty=False)
    _check_values("kl_coef", axes.kl_coef, may_be_empty=True)
    for name in ("gamma", "gae_lambda"):
        for value in getattr(axes, name):
            if not 0.0 <= value <= 1.0:
                raise ValueError(f"{name} must be a number from 0 to 1, got {value:g}")
    for value in axes.kl_coef:
        if not (math.isfinite(value) and value >= 0.0):
            raise ValueError(f"kl_coef must be a finite number >= 0, got {value:g}")
    for density in axes.density:
        check_name("density", density, DENSITIES)
    for granularity in axes.granularity:
        check_name("granularity", granularity, GRANULARITIES)
    _at_least("seeds", axes.seeds, 1)
    _at_least("first_seed", axes.first_seed, 0)


def check_budget(budget: Budget) -> None:
    """Refuse a budget that trains nothing or cannot be spent."""
    for name in ("updates", "episodes_per_update", "every_k", "eval_episodes"):
        _at_least(name, getattr(budget, name), 1)
    rate = budget.learning_rate
    if rate is not None and not (math.isfinite(rate) and rate >= 0.0):
        raise ValueError(f"learning_rate must be a finite number >= 0, got {rate:g}")


def check_name(what: str, got: str, choices: Sequence[str]) -> None:
    """Refuse a name that is neither a choice nor a numbered form of one."""
    patterns = [NUMBERED[choice] for choice in choices if choice in NUMBERED]
    plain = [choice for choice in choices if choice != "macro_N"]
    if got in plain or any(re.fullmatch(pattern, got) for pattern in patterns):
        return
    forms = ", ".join(choices) + (" (such as every_8)" if "every_k" in choices else "")
    forms += " (such as macro_4)" if "macro_N" in choices else ""
    raise ValueError(
        f"{what} must be one of {forms}, got {got!r}{did_you_mean(got, list(choices))}"
    )


def check_task(task: str) -> None:
    """Refuse a task that is neither built in nor importable."""
    from rlhf_env.tasks import task_names

    if is_custom(task):
        import_object(task, "task")
    elif task not in task_names():
        hint = did_you_mean(task, task_names())
        names = ", ".join(task_names())
        raise ValueError(f"task must be one of {names} or module:function, got {task!r}{hint}")


def check_jobs(jobs: int | None) -> None:
    """Refuse a number of processes that cannot be."""
    if jobs is not None:
        _at_least("jobs", jobs, 1)


def _check_values(name: str, values: Sequence[object], *, may_be_empty: bool) -> None:
    if not values and not may_be_empty:
        raise ValueError(f"{name} must have at least one value, got none")
    repeated = [value for value in values if values.count(value) > 1]
    if repeated:
        raise ValueError(f"{name} must not repeat a value, got {repeated[0]} more than once")


def _check_group(size: int, episodes: int) -> None:
    _at_least("group_size", size, 2)
    if episodes % size:
        divisors = [n for n in range(2, episodes + 1) if episodes % n == 0]
        nearest = min(divisors or [episodes], key=lambda n: abs(n - size))
        raise ValueError(
            f"group_size must divide episodes_per_update = {episodes}, got {size}; "
            f"the nearest that does is {nearest}"
        )


def _at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise ValueError(f"{name} must be a whole number of at least {least}, got {value}")
