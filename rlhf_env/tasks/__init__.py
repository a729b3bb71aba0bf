"""The built-in tasks and the register of others.

Loading a task makes a new one each time: tasks share no model, so nobody can change another's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from rlhf_env.checks import did_you_mean

if TYPE_CHECKING:
    from rlhf_env.task import Task
    from rlhf_env.tasks.table import table_task

__all__ = ["load_task", "register_task", "table_task", "task_names"]


def _toy15() -> Task:
    from rlhf_env.tasks.toy15 import toy15_task

    return toy15_task()


def _reviews() -> Task:
    from rlhf_env.tasks.reviews import reviews_task

    return reviews_task()


_FACTORIES: dict[str, Callable[[], Task]] = {"reviews": _reviews, "toy15": _toy15}


def task_names() -> list[str]:
    """Return the names that `load_task` knows, sorted."""
    return sorted(_FACTORIES)


def register_task(name: str, factory: Callable[[], Task]) -> None:
    """Make a task known by name; ``factory`` is called at each load.

    Raises:
        ValueError: if the name is taken.
    """
    if name in _FACTORIES:
        raise ValueError(f"task {name!r} is registered already; choose another name")
    _FACTORIES[name] = factory


def load_task(name: str) -> Task:
    """Return a new instance of a registered task.

    Raises:
        ValueError: if no task has that name.
    """
    if name not in _FACTORIES:
        hint = did_you_mean(name, _FACTORIES)
        raise ValueError(f"task must be one of {task_names()}, got {name!r}{hint}")
    return _FACTORIES[name]()


def __getattr__(name: str) -> object:
    if name == "table_task":
        from rlhf_env.tasks.table import table_task

        return table_task
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
