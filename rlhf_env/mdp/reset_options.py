"""The options of ``reset``: which prompt an episode starts from."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from rlhf_env.task import Task
from rlhf_env.text.prompts import encode_prompt

# A prompt passed by the caller has no number in the task.
FOREIGN = -1


def check_seed(seed: Any) -> int | None:
    """Return the seed as a Python integer.

    Raises:
        ValueError: if it is not an integer >= 0.
    """
    if seed is None:
        return None
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise ValueError(f"seed must be an integer >= 0 or None, got {seed!r}")
    return int(seed)


def checked_options(options: Any, allowed: Sequence[str]) -> dict[str, Any]:
    """Return a copy of the reset options.

    Raises:
        ValueError: if they are not a dictionary, one does not exist, or two exclude each other.
    """
    if options is None:
        return {}
    if not isinstance(options, Mapping):
        raise ValueError(
            f"reset options must be a dictionary with {list(allowed)}, got {type(options).__name__}"
        )
    unknown = [key for key in options if key not in allowed]
    if unknown:
        raise ValueError(f"reset options must be among {list(allowed)}, got {unknown[0]!r}")
    if {"prompt", "prompt_index"} <= set(options):
        raise ValueError('reset options "prompt" and "prompt_index" exclude each other; give one')
    return dict(options)


def draw_prompt(task: Task, generator: np.random.Generator) -> tuple[Tensor, int]:
    """Return a prompt of the task, each equally likely, and its number."""
    index = int(generator.integers(len(task.prompts)))
    return task.prompts[index], index


def chosen_prompt(
    task: Task, prompt: Any = None, prompt_index: Any = None
) -> tuple[Tensor, int] | None:
    """Return the prompt that the caller chose and its number, or None where one is to be drawn.

    Args:
        task: whose prompts have numbers.
        prompt: a text or token ids; its number is -1.
        prompt_index: the number of one of the task's prompts; a float as ``info`` has it will do.

    Raises:
        ValueError: if the prompt is unusable or there is no such number.
    """
    if prompt is not None:
        ids = encode_prompt(prompt, "reset option 'prompt'", task.tokenizer)
        if len(ids) > task.max_prompt_tokens:
            raise ValueError(
                f"prompt has {len(ids)} tokens, more than max_prompt_tokens = "
                f"{task.max_prompt_tokens}; shorten it"
            )
        return ids, FOREIGN
    if prompt_index is None:
        return None
    count = len(task.prompts)
    is_number = isinstance(prompt_index, int | float | np.integer)
    is_index = is_number and not isinstance(prompt_index, bool) and prompt_index in range(count)
    if not is_index:
        raise ValueError(f"prompt_index must be an integer in [0, {count}), got {prompt_index!r}")
    return task.prompts[int(prompt_index)], int(prompt_index)


def row_seeds(seed: Any, num_rows: int) -> list[int | None]:
    """Return each row's seed: seed + row, or the entries of a list.

    Raises:
        ValueError: if a seed is not an integer >= 0, or the list has another length.
    """
    if isinstance(seed, list | tuple | np.ndarray):
        if len(seed) != num_rows:
            raise ValueError(f"seed must be a list of {num_rows}, got {len(seed)} of them")
        return [check_seed(value) for value in seed]
    first = check_seed(seed)
    return [None if first is None else first + row for row in range(num_rows)]


def checked_mask(mask: Any, num_rows: int) -> np.ndarray:
    """Return which rows to reset, [N] bool; all of them when the mask is None.

    Raises:
        ValueError: if it is not N booleans with at least one True.
    """
    if mask is None:
        return np.ones(num_rows, dtype=bool)
    array = np.asarray(mask.cpu() if isinstance(mask, Tensor) else mask)
    if array.dtype != bool or array.shape != (num_rows,) or not array.any():
        raise ValueError(
            f"reset_mask must be {num_rows} booleans with at least one True, "
            f"got {array.dtype} {reprlib.repr(array.tolist())}"
        )
    return array


def per_row(name: str, value: Any, num_rows: int) -> list[Any]:
    """Return a reset option's value for each row.

    A text, a number, one prompt's ids and one chat are one value for all rows; any other list is
    one value per row.

    Raises:
        ValueError: if a list has another length.
    """
    if isinstance(value, Tensor):
        value = value.tolist()
    is_list = isinstance(value, list | tuple | np.ndarray)
    is_prompt = is_list and len(value) and isinstance(value[0], int | np.integer | Mapping)
    if not is_list or (name == "prompt" and is_prompt):
        return [value] * num_rows
    if len(value) != num_rows:
        raise ValueError(
            f"reset option {name!r} must be one value or {num_rows} of them, got {len(value)}"
        )
    return list(value)
