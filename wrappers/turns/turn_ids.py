"""The token ids of a turn that is given as a text."""

from __future__ import annotations

import reprlib
from typing import Any

import numpy as np

from rlhf_env.task import Task
from rlhf_env.text.text_ids import plain_ids
from wrappers.macro.action_space import as_array


def turn_ids(action: Any, task: Task) -> list[int]:
    """Return the ids of one turn, the token that ends it included.

    Args:
        action: a text or the ids themselves. The end of the turn is added where it is missing. A
            special token that ends a turn or the episode may be spelled out at the end of a text;
            elsewhere it is read as text.
        task: gives the tokenizer and the tokens that end a turn.

    Raises:
        ValueError: if the action is neither, the tokenizer does not know some of the text, or
            something follows the end of the turn.
    """
    ends = {task.turn_end_id, task.eos_id}
    ids = _text_ids(action, task) if isinstance(action, str) else _given_ids(action)
    if not ids or ids[-1] not in ends:
        ids.append(task.turn_end_id)
    first = next(place for place, token in enumerate(ids) if token in ends)
    if first + 1 < len(ids):
        raise ValueError(
            f"action must be one turn, got {reprlib.repr(action)}, whose turn ends after "
            f"{first + 1} of {len(ids)} tokens; take a step for each turn"
        )
    return ids


def _text_ids(text: str, task: Task) -> list[int]:
    body, end = text, []
    for token in (task.turn_end_id, task.eos_id):
        spelled = str(task.tokenizer.convert_ids_to_tokens(token))
        if token in task.tokenizer.all_special_ids and text.endswith(spelled):
            body, end = text.removesuffix(spelled), [token]
            break
    ids = plain_ids(body, "action", task.tokenizer, add_special_tokens=False)
    read = str(task.tokenizer.decode(ids, skip_special_tokens=True))
    # Tokenizers of words choose the spaces between them.
    if "".join(read.split()) != "".join(body.split()):
        raise ValueError(
            f"action must be a text that the tokenizer can say, got {reprlib.repr(body)}, which it "
            f"reads as {reprlib.repr(read)}; use its words, or give token ids"
        )
    return ids + end


def _given_ids(action: Any) -> list[int]:
    array = as_array(action, "action")
    if array.ndim != 1 or (len(array) and not np.issubdtype(array.dtype, np.integer)):
        raise ValueError(
            "action must be a text, or the token ids of a turn, got "
            f"{type(action).__name__} {reprlib.repr(action)}"
        )
    return array.tolist()
