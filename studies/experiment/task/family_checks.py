"""Checks of the horizons and options of families of tasks, before one of them is built."""

from __future__ import annotations

import math

from rlhf_env.checks import did_you_mean
from rlhf_env.defaults import POLICIES
from rlhf_env.tasks import family_and_horizon, task_families
from studies.experiment.axes import Axes
from studies.experiment.grid import Budget, task_budgets
from studies.experiment.names import check_name
from studies.experiment.numbers import whole_number
from studies.experiment.task.family import FamilyOptions, as_number

# Of exact answers: T · S values are kept.
MAX_HORIZON = 1024
# Options that a grid sets otherwise -> how.
ELSEWHERE = {"horizon": "--horizon", "kl_coef": "--kl-coef", "policy": "--policy"}


def check_families(axes: Axes, budget: Budget) -> None:
    """Refuse horizons of tasks that have one length, and options that no task could take.

    Raises:
        ValueError: one sentence with what is wrong, what was given, and what would be right.
    """
    for horizon in axes.horizon:
        whole_number("horizon", horizon, 1, MAX_HORIZON)
    if axes.horizon:
        _check_have_horizons(axes, budget)
    _check_options(budget.family_options)
    if budget.family_options.is_given:
        for own in task_budgets(axes, budget):
            name = own.task if own.model is None else own.model
            if own.model is not None or family_and_horizon(name) is None:
                option = "policy" if budget.family_options.policy else "task_options"
                raise ValueError(
                    f"{option} goes with tasks of the families {', '.join(task_families())}, got "
                    f"{name!r}; leave one of them out"
                )


def check_needs_no_horizon(name: str) -> None:
    """Refuse the name of a family alone, where a task is expected.

    Raises:
        ValueError: with what to write.
    """
    if name in task_families():
        raise ValueError(
            f"task {name!r} is a family and needs a horizon, got none; add --horizon 8 32, or "
            f"write {name}-32"
        )


def _check_have_horizons(axes: Axes, budget: Budget) -> None:
    families = ", ".join(task_families())
    named = [*(axes.task or (() if axes.model else (budget.task,))), *axes.model]
    for name in named:
        if name in task_families() and name not in axes.model:
            continue
        if (parts := family_and_horizon(name)) is not None:
            raise ValueError(
                f"horizon needs names of families alone, got {name!r}, which has one already; "
                f"write {parts[0]}"
            )
        hint = did_you_mean(name, task_families())
        raise ValueError(
            f"horizon goes with the families of tasks {families}, got the task {name!r}, which has "
            f"no horizon to choose{hint or '; leave --horizon out'}"
        )
    if budget.own.max_new_tokens is not None:
        raise ValueError(
            f"horizon and max_new_tokens exclude each other, got {axes.horizon[0]} and "
            f"{budget.own.max_new_tokens}; leave the second out"
        )


def _check_options(given: FamilyOptions) -> None:
    if given.policy is not None:
        check_name("policy", given.policy, POLICIES)
    names = []
    for text in given.task_options:
        name, _, value = text.partition("=")
        if not _is_number(value):
            raise ValueError(
                f"task_options must be given as name=number, such as needles=3, got {text!r}"
            )
        if name in ELSEWHERE:
            raise ValueError(
                f"task_options does not set {name}, got {text!r}; use {ELSEWHERE[name]}"
            )
        if name in names:
            raise ValueError(f"task_options must not repeat an option, got {name} more than once")
        names.append(name)


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(as_number(text))
    except ValueError:
        return False
