"""What the environment says in a conversation: a user's or a tool's answer to each turn.

A turn of the agent ends with an end-of-turn token. The task's ``respond`` is then given the text so
far and answers with tokens, which enter the prefix without being actions, or with None, which ends
the episode.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from rlhf_env.checks import check_count

if TYPE_CHECKING:
    from rlhf_env.task import Task

Respond = Callable[[list[Tensor], list[Tensor], list[np.random.Generator]], Sequence[Tensor | None]]
"""``respond(prompts, histories, generators)``: for each of n rows the ids [P] of its prompt, the
ids [H] of all that was said since, the end-of-turn token included, and the row's random numbers.
It returns for each row the ids of what the environment says, int64 [k], or None to end."""


def check_conversation(task: Task) -> None:
    """Refuse settings of a conversation that cannot be used.

    Raises:
        ValueError: naming the field.
    """
    if task.respond is None:
        for name, usual in (("max_turns", None), ("max_environment_tokens", 0)):
            if getattr(task, name) != usual:
                raise ValueError(
                    f"{name} is of conversations, got {getattr(task, name)!r} without respond; "
                    "give respond, or leave it out"
                )
    else:
        if not callable(task.respond):
            raise ValueError(
                "respond must be a function (prompts, histories, generators), "
                f"got {type(task.respond).__name__}"
            )
        check_count("max_environment_tokens", task.max_environment_tokens)
        if task.max_turns is not None:
            check_count("max_turns", task.max_turns)
    end = task.end_of_turn_id
    if end is not None:
        check_count("end_of_turn_id", end, minimum=0)
        if end >= task.vocab_size:
            raise ValueError(
                f"end_of_turn_id must be one of the {task.vocab_size} token ids, got {end}"
            )


def replies(
    task: Task,
    prompts: list[Tensor],
    histories: list[Tensor],
    generators: list[np.random.Generator],
    rooms: Sequence[int],
) -> list[Tensor | None]:
    """Return what the environment says after a turn of each of some rows, checked.

    Args:
        task: with ``respond``.
        prompts: n vectors of ids.
        histories: n vectors of ids, all that was said after the prompt; fresh memory.
        generators: n sources of random numbers.
        rooms: how many more tokens the environment may say in each row.

    Raises:
        ValueError: if an answer is no vector of token ids, or too long.
    """
    assert task.respond is not None, "the caller asks only in conversations"
    answers = task.respond(prompts, histories, generators)
    if len(answers) != len(prompts):
        raise ValueError(f"respond must return {len(prompts)} answers, got {len(answers)}")
    pairs = zip(answers, rooms, strict=True)
    return [None if ids is None else _checked(task, ids, room) for ids, room in pairs]


def _checked(task: Task, answer: Tensor, room: int) -> Tensor:
    ids = torch.as_tensor(answer)
    if ids.dim() != 1 or ids.dtype.is_floating_point or ids.dtype == torch.bool:
        raise ValueError(
            "respond must answer with a vector of token ids or None, got "
            f"{ids.dtype} of shape {list(ids.shape)}"
        )
    if len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) < task.vocab_size:
        raise ValueError(
            f"respond must answer with token ids in [0, {task.vocab_size}), got "
            f"{int(ids.min())} to {int(ids.max())}"
        )
    if len(ids) > room:
        raise ValueError(
            f"respond said {len(ids)} tokens where max_environment_tokens = "
            f"{task.max_environment_tokens} leaves {room}; answer shorter, end the episode with "
            "None, or raise it"
        )
    return ids.long()
