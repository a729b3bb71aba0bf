"""Checks of the command line, before a model is loaded or a file is made."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from agents.settings import BUILT_IN_AGENTS, IMPORTANCE, KL_ESTIMATORS, KL_PLACEMENTS
from rlhf_env.checks import did_you_mean
from rlhf_env.defaults import HORIZONS, MAX_NEW_TOKENS
from rlhf_env.tasks import family_and_horizon, is_task_name, task_families, task_names
from studies.experiment.agent_names import (
    agent_fields,
    check_group_size,
    custom_class,
    is_custom,
    parameters,
    settings_of,
    takes_preferences,
)
from studies.experiment.axes import Axes
from studies.experiment.density_checks import (
    check_densities,
    check_every_k,
    check_horizon,
    check_implicit,
    check_turns,
)
from studies.experiment.further_settings import (
    assignments,
    check_further,
    further_settings,
    takes,
)
from studies.experiment.grid import NEWER, Budget, choices, count_runs, task_budgets
from studies.experiment.names import (
    DENSITIES,
    GRANULARITIES,
    check_name,
)
from studies.experiment.numbers import number, whole_number
from studies.experiment.old_episodes import check_old_episodes
from studies.experiment.references import import_object
from studies.experiment.task.checks import check_custom_task
from studies.experiment.task.family_checks import check_families, check_needs_no_horizon

MAX_RUNS = 100_000
MAX_COUNT = 10_000_000
MAX_PAIRS = 1_000_000
MAX_JOBS = 1024
MAX_SEED = 2**63 - 1


def check_grid(axes: Axes, budget: Budget) -> None:
    """Refuse settings that cannot be run.

    Raises:
        ValueError: one sentence with what is wrong, what was given, and what would be right.
    """
    check_axes(axes)
    check_budget(budget)
    check_custom_task(budget.own, axes.model)
    check_families(axes, budget)
    _check_size(axes, budget)
    for agent in axes.agent:
        for size in filter(None, choices(axes, agent)["group_size"]):
            _check_divides(size, budget.episodes_per_update)
            check_group_size(agent, size)
        for further in choices(axes, agent)["set"]:
            check_further(agent, further, {"episodes_per_update": budget.episodes_per_update})
        known = BUILT_IN_AGENTS.get(agent)
        if known is not None and budget.episodes_per_update % known.minibatches:
            raise ValueError(
                f"episodes_per_update must be a multiple of {known.minibatches}, the "
                f"minibatches of {agent}, got {budget.episodes_per_update}"
            )
        if known is not None and axes.preference_pairs and known.takes_preferences:
            _check_whole_groups(agent, known.defaults.group_size, budget.episodes_per_update)
    check_taken(axes, budget)
    check_every_k(axes.density, budget.every_k)
    check_densities(axes.density, budget)
    for own in task_budgets(axes, budget):
        if own.model is None:
            check_task(own.task)
        check_implicit(axes, own)
        check_turns((*axes.density, *axes.granularity), own)
        if (horizon := known_horizon(own)) is not None:
            for name in (*axes.density, *axes.granularity):
                check_horizon(name, budget.every_k, horizon)


def check_axes(axes: Axes) -> None:
    """Refuse axes that are empty, repeat a value, or hold a value out of range."""
    for name in ("agent", "gamma", "density", "granularity", "gae_lambda", "group_size"):
        _check_values(name, getattr(axes, name), may_be_empty=False)
    may_be_empty = ("task", "horizon", "model", "kl_coef", "kl_placement", "kl_estimator")
    for name in (*may_be_empty, *NEWER):
        _check_values(name, getattr(axes, name), may_be_empty=True)
    for name in ("gamma", "gae_lambda"):
        for value in getattr(axes, name):
            number(name, value, 0.0, 1.0)
    for value in axes.kl_coef:
        number("kl_coef", value, 0.0)
    for density in axes.density:
        check_name("density", density, DENSITIES)
    for granularity in axes.granularity:
        check_name("granularity", granularity, GRANULARITIES)
    for placement in axes.kl_placement:
        check_name("kl_placement", placement, KL_PLACEMENTS)
    for estimator in axes.kl_estimator:
        check_name("kl_estimator", estimator, KL_ESTIMATORS)
    for size in axes.group_size:
        whole_number("group_size", size, 2, MAX_COUNT)
    for count in axes.preference_pairs:
        whole_number("preference_pairs", count, 2, MAX_PAIRS)
    for importance in axes.importance:
        check_name("importance", importance, IMPORTANCE)
    for updates in axes.staleness:
        whole_number("staleness", updates, 0, MAX_COUNT)
    for ratio in axes.replay_ratio:
        number("replay_ratio", ratio, 0.0)
    whole_number("seeds", axes.seeds, 1, MAX_SEED)
    whole_number("first_seed", axes.first_seed, 0, MAX_SEED - axes.seeds + 1)


def check_budget(budget: Budget) -> None:
    """Refuse an invalid budget."""
    whole_number("updates", budget.updates, 0, MAX_COUNT)
    for name in ("episodes_per_update", "every_k", "eval_episodes"):
        whole_number(name, getattr(budget, name), 1, MAX_COUNT)
    number("learning_rate", budget.learning_rate, 0.0)


def check_taken(axes: Axes, budget: Budget) -> None:
    """Refuse options that a custom agent, or every agent, would ignore.

    Raises:
        ValueError: with the option.
    """
    for agent in filter(is_custom, axes.agent):
        check_learning_rate(agent, budget.learning_rate)
    for name in ("kl_placement", "kl_estimator", "importance", "staleness"):
        if getattr(axes, name) and not any(name in agent_fields(agent) for agent in axes.agent):
            raise ValueError(
                f"{name} must be a setting of one of the agents at least, got {axes.agent[0]!r}, "
                "which has none; leave the option out"
            )
    for further in axes.set:
        if not any(takes(agent, assignments(further)) for agent in axes.agent):
            further_settings(axes.agent[0], further)
    check_old_episodes(axes)
    if axes.preference_pairs and not any(map(takes_preferences, axes.agent)):
        raise ValueError(
            "preference_pairs needs an agent that learns from given comparisons, got "
            f"{', '.join(axes.agent)}; add one, such as dpo, or leave the option out"
        )


def check_learning_rate(agent: str, learning_rate: float | None) -> None:
    """Refuse a step size that an agent of one's own would ignore.

    Args:
        agent: ``module:Class``.
        learning_rate: as it was asked for; None if it was not.

    Raises:
        ValueError: with both.
    """
    if learning_rate is not None and "learning_rate" not in settings_of(custom_class(agent)):
        raise ValueError(
            f"learning_rate must be taken by every agent, got {learning_rate:g} and {agent!r}, "
            "whose constructor does not name it; add the argument or leave the option out"
        )


def known_horizon(budget: Budget) -> int | None:
    """Return the tokens of a task's longest response, for a task without a model."""
    if budget.model is not None:
        return budget.own.max_new_tokens or MAX_NEW_TOKENS
    if budget.own.max_new_tokens is not None:
        return budget.own.max_new_tokens
    parts = family_and_horizon(budget.task)
    return HORIZONS.get(budget.task) if parts is None else parts[1]


def check_task(task: str) -> None:
    """Refuse a task that is neither built in nor a function that can be called."""
    if is_custom(task):
        _check_callable(import_object(task, "task"), task)
    elif not is_task_name(task):
        check_needs_no_horizon(task)
        hint = did_you_mean(task, [*task_names(), *task_families()])
        names = ", ".join([*task_names(), *(f"{family}-T" for family in task_families())])
        raise ValueError(f"task must be one of {names} or module:function, got {task!r}{hint}")


def check_jobs(jobs: int | None, threads: int | None = None) -> None:
    """Refuse an invalid number of processes, or of threads in each."""
    for name, count in (("jobs", jobs), ("threads", threads)):
        whole_number(name, count, 1, MAX_JOBS)


def check_out(out: Path) -> None:
    """Refuse a file where a folder is to be written."""
    if out.exists() and not out.is_dir():
        raise ValueError(f"out must be a folder, got the file {out}; name another")


def _check_callable(function: Callable[..., Any], task: str) -> None:
    # A function without a readable signature is checked when it is called.
    required = [name for name in parameters(function) if _is_required(function, name)]
    if required:
        raise ValueError(
            f"task must be a function without arguments that returns a Task, got {task!r}, which "
            f"asks for {', '.join(required)}; name a function that asks for none"
        )


def _is_required(function: Callable[..., Any], name: str) -> bool:
    parameter = inspect.signature(function).parameters[name]
    variable = (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    return parameter.default is parameter.empty and parameter.kind not in variable


def _check_size(axes: Axes, budget: Budget) -> None:
    count = count_runs(axes, budget)
    if count > MAX_RUNS:
        raise ValueError(
            f"the grid must have at most {MAX_RUNS:,} runs, got {count:,}; "
            "give fewer values or fewer seeds"
        )


def _check_values(name: str, values: Sequence[object], *, may_be_empty: bool) -> None:
    if not values and not may_be_empty:
        raise ValueError(f"{name} must have at least one value, got none")
    repeated = [value for value, count in Counter(values).items() if count > 1]
    if repeated:
        raise ValueError(f"{name} must not repeat a value, got {repeated[0]} more than once")


def _check_whole_groups(agent: str, size: int, episodes: int) -> None:
    if episodes % size:
        raise ValueError(
            f"episodes_per_update must be a multiple of {size}, the group size of {agent}, got "
            f"{episodes}"
        )


def _check_divides(size: int, episodes: int) -> None:
    if episodes % size:
        divisors = [n for n in range(2, episodes + 1) if episodes % n == 0]
        nearest = min(divisors or [episodes], key=lambda n: abs(n - size))
        raise ValueError(
            f"group_size must divide episodes_per_update = {episodes}, got {size}; "
            f"the nearest that does is {nearest}"
        )
