"""The task and the prompt that an exact answer is for."""

from __future__ import annotations

import reprlib

from rlhf_env.checks import check_count
from rlhf_env.task import Task


def check_is_task(task: object) -> None:
    """Refuse what is no task, such as the name of one.

    Raises:
        TypeError: with what it got.
    """
    if not isinstance(task, Task):
        load = f"; load it first: rlhf_env.load_task({task!r})" if isinstance(task, str) else ""
        raise TypeError(f"task must be a Task, got {reprlib.repr(task)}{load}")


def chosen_prompt(task: Task, prompt_index: int | None) -> int:
    """Return the number of the chosen prompt; that of the only one where none is chosen.

    Raises:
        ValueError: if it is not one of the task's, or there are several and none is chosen.
    """
    count = len(task.prompts)
    if prompt_index is None:
        if count > 1:
            raise ValueError(f"task {task.name!r} has {count} prompts; choose one by prompt_index")
        return 0
    check_count("prompt_index", prompt_index, 0)
    if prompt_index >= count:
        raise ValueError(f"prompt_index must be in [0, {count}), got {prompt_index}")
    return int(prompt_index)
