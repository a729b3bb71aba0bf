"""The options of ``reset``: which prompt an episode starts from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from rlhf_env.prompts import encode_prompt
from rlhf_env.task import Task

# A prompt that the caller brought has no number in the task.
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


def check_keys(options: Mapping[str, Any], allowed: Sequence[str]) -> None:
    """Raise ValueError for a reset option that does not exist, or two that exclude each other."""
    unknown = sorted(set(options) - set(allowed))
    if unknown:
        raise ValueError(f"reset options must be among {list(allowed)}, got {unknown[0]!r}")
    if {"prompt", "prompt_index"} <= set(options):
        raise ValueError('reset options "prompt" and "prompt_index" exclude each other; give one')


def choose_prompt(
    task: Task, generator: np.random.Generator, prompt: Any = None, prompt_index: Any = None
) -> tuple[Tensor, int]:
    """Return the prompt of a new episode and its number in ``task.prompts``.

    Args:
        task: where prompts come from.
        generator: draws the prompt when none is chosen.
        prompt: a text or token ids; its number is -1.
        prompt_index: the number of one of the task's prompts.

    Raises:
        ValueError: if the prompt is unusable or there is no such number.
    """
    if prompt is not None:
        ids = encode_prompt(prompt, 0, task.tokenizer)
        if len(ids) > task.max_prompt_tokens:
            raise ValueError(
                f"prompt has {len(ids)} tokens, more than max_prompt_tokens = "
                f"{task.max_prompt_tokens}; shorten it"
            )
        return ids, FOREIGN
    count = len(task.prompts)
    if prompt_index is None:
        index = int(generator.integers(count))
    else:
        is_integer = isinstance(prompt_index, int | np.integer)
        if isinstance(prompt_index, bool) or not is_integer or not 0 <= prompt_index < count:
            raise ValueError(
                f"prompt_index must be an integer in [0, {count}), got {prompt_index!r}"
            )
        index = int(prompt_index)
    return task.prompts[index], index
