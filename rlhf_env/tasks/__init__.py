"""The built-in tasks and the registry of others.

Loading a task makes a new one each time: tasks share no model.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from rlhf_env.checks import did_you_mean

if TYPE_CHECKING:
    from rlhf_env.task import Task
    from rlhf_env.tasks.automaton import automaton_task
    from rlhf_env.tasks.openenv import task_from_openenv
    from rlhf_env.tasks.reasoning import task_from_reasoning_gym
    from rlhf_env.tasks.table import table_task

__all__ = [
    "automaton_task",
    "family_and_horizon",
    "family_options",
    "is_task_name",
    "load_task",
    "register_task",
    "table_task",
    "task_families",
    "task_from_openenv",
    "task_from_reasoning_gym",
    "task_names",
]

# What makes tasks, and the module that it is in: the names of tasks are known without torch.
_MAKERS = {
    "automaton_task": "rlhf_env.tasks.automaton",
    "table_task": "rlhf_env.tasks.table",
    "task_from_openenv": "rlhf_env.tasks.openenv",
    "task_from_reasoning_gym": "rlhf_env.tasks.reasoning",
}
# Families of automaton tasks; the horizon follows in the name.
_FAMILIES = ("brackets", "chain", "delay", "lock", "needles")
_OF_FAMILY = re.compile(rf"({'|'.join(_FAMILIES)})-([1-9][0-9]{{0,17}})")


def _toy15() -> Task:
    from rlhf_env.tasks.toy15 import toy15_task

    return toy15_task()


def _reviews() -> Task:
    from rlhf_env.tasks.reviews import reviews_task

    return reviews_task()


def _countdown(numbers: int) -> Task:
    from rlhf_env.tasks.games.countdown import countdown_task

    return countdown_task(numbers)


def _countdown_small() -> Task:
    from rlhf_env.tasks.games.countdown.small import countdown_small_task

    return countdown_small_task()


def _guess(turns: int) -> Task:
    from rlhf_env.tasks.games.guess import guess_task

    return guess_task(turns)


def _reverse() -> Task:
    from rlhf_env.tasks.games.reverse import reverse_task

    return reverse_task()


def _reverse_small() -> Task:
    from rlhf_env.tasks.games.reverse import reverse_small_task

    return reverse_small_task()


_FACTORIES: dict[str, Callable[[], Task]] = {
    "countdown": partial(_countdown, 3),
    "countdown-4": partial(_countdown, 4),
    "countdown-small": _countdown_small,
    "guess": partial(_guess, 5),
    **{f"guess-{turns}": partial(_guess, turns) for turns in range(2, 9)},
    "reverse": _reverse,
    "reverse-small": _reverse_small,
    "reviews": _reviews,
    "toy15": _toy15,
}


def task_names() -> list[str]:
    """Return the names that `load_task` knows, sorted, but for those of families."""
    return sorted(_FACTORIES)


def task_families() -> list[str]:
    """Return the names that `load_task` knows followed by a horizon, as in "delay-64"."""
    return list(_FAMILIES)


def is_task_name(name: str) -> bool:
    """Return whether `load_task` knows a name."""
    return name in _FACTORIES or family_and_horizon(name) is not None


def family_and_horizon(name: str) -> tuple[str, int] | None:
    """Return the two parts of a name such as "delay-64"; None for other names."""
    found = _OF_FAMILY.fullmatch(str(name))
    return None if found is None else (found[1], int(found[2]))


def family_options(family: str) -> list[str]:
    """Return the options of a family's tasks, such as "policy"; see `rlhf_env.tasks.families`."""
    return list(inspect.signature(_factories()[family]).parameters)[1:]


def register_task(name: str, factory: Callable[[], Task]) -> None:
    """Make a task known by name; ``factory`` is called at each load.

    Raises:
        ValueError: if the name is empty or taken.
        TypeError: if ``factory`` cannot be called.
    """
    if not isinstance(name, str) or not name.strip():
        raise ValueError(f"the name of a task must be a text that is not empty, got {name!r}")
    if not callable(factory):
        raise TypeError(
            f"task {name!r} must be registered with a function that returns a rlhf_env.Task, "
            f"got {type(factory).__name__}"
        )
    if is_task_name(name):
        raise ValueError(f"task {name!r} is registered already; choose another name")
    _FACTORIES[name] = factory


def load_task(name: str, **options: Any) -> Task:
    """Return a new instance of a registered task.

    Args:
        name: one of `task_names`, or one of `task_families` with a horizon T, such as "delay-64".
        options: of the family, such as ``policy="transformer"``; see `rlhf_env.tasks.families`.

    Raises:
        ValueError: if no task has that name, or it has no such option.
        TypeError: if what was registered under the name returns something else than a task.
    """
    if (of_family := family_and_horizon(name)) is not None:
        return _load_of_family(*of_family, options)
    if name not in _FACTORIES:
        hint = did_you_mean(name, _FACTORIES)
        families = ", ".join(f"{family}-T" for family in _FAMILIES)
        raise ValueError(
            f"task must be one of {task_names()} or, with a horizon T, {families}, "
            f"got {name!r}{hint}"
        )
    if options:
        raise ValueError(f"task {name!r} has no options, got {sorted(options)}")
    from rlhf_env.task import Task

    task = _FACTORIES[name]()
    if not isinstance(task, Task):
        raise TypeError(
            f"the function registered as task {name!r} must return a rlhf_env.Task, "
            f"got {type(task).__name__}"
        )
    return task


def _load_of_family(family: str, horizon: int, options: dict[str, Any]) -> Task:
    known = family_options(family)
    if unknown := sorted(options.keys() - set(known)):
        raise ValueError(f"{family} tasks have no option {unknown[0]!r}; there are {known}")
    return _factories()[family](horizon, **options)


def _factories() -> Mapping[str, Callable[..., Task]]:
    """Return what makes the tasks of each family, from the horizon and the family's options."""
    from rlhf_env.tasks.families import FAMILIES

    return FAMILIES


def __getattr__(name: str) -> object:
    if name not in _MAKERS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MAKERS[name]), name)
