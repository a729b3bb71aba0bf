"""The rows of a vector environment, each with the info and the text of a single environment.

The info of one row is handled like that of a single environment, so both kinds of wrapper share
code.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from rlhf_env.mdp.mdp import TokenMDP

_NUMBERS = (bool, int, float, np.number)


def split_info(info: dict[str, Any], num_envs: int) -> list[dict[str, Any]]:
    """Return the info of each row, numbers as Python numbers.

    Args:
        info: arrays or tensors over rows, each with its mask under the key ``_<name>``.
        num_envs: N.
    """
    rows: list[dict[str, Any]] = [{} for _ in range(num_envs)]
    for key, values in info.items():
        if key.startswith("_"):
            continue
        is_nested = isinstance(values, dict)
        entries = split_info(values, num_envs) if is_nested else values.tolist()
        for row, entry, has_entry in zip(rows, entries, info[f"_{key}"].tolist(), strict=True):
            if has_entry:
                row[key] = entry
    return rows


def join_info(rows: list[dict[str, Any]], tensors: bool) -> dict[str, Any]:
    """Return the infos of N rows in Gymnasium's form for vector environments.

    A key holds an array over rows, 0 or None where a row does not have it, and ``_<key>`` the mask
    of the rows that do. Dictionaries are joined likewise, but for last observations.

    Args:
        rows: N dictionaries.
        tensors: whether numbers and masks are tensors rather than arrays.
    """
    info: dict[str, Any] = {}
    for key in dict.fromkeys(key for row in rows for key in row):
        has_key = np.array([key in row for row in rows])
        # Gymnasium keeps last observations apart, row by row, whatever they are.
        is_apart = key == "final_obs"
        first = None if is_apart else next(row[key] for row in rows if key in row)
        if isinstance(first, dict):
            info[key] = join_info([row.get(key, {}) for row in rows], tensors)
        else:
            info[key] = _column([row.get(key) for row in rows], first, has_key, tensors)
        info[f"_{key}"] = torch.as_tensor(has_key) if tensors else has_key
    return info


def step_info(row: dict[str, Any]) -> dict[str, Any] | None:
    """Return the part of a row's info that belongs to its step; None if it took none."""
    info = row.get("final_info", row)
    return info if "reward_terms" in info else None


class Text(NamedTuple):
    """What was said in a row."""

    prompt: Tensor
    """[P] ids."""
    response: Tensor
    """[H] ids of all that was said since."""
    is_action: Tensor
    """[H] bool, the tokens that the agent chose; all of them but in a conversation."""

    @property
    def until_last_action(self) -> Tensor:
        """The response without what the environment said after the last action."""
        return self.response[: int(self.is_action.nonzero()[-1]) + 1]


def open_text(mdp: TokenMDP, row: int) -> Text:
    """Return the text that a row holds."""
    prompt = mdp.tokens[row, : mdp.prompt_lengths[row]]
    return Text(prompt, mdp.history(row), mdp.is_action(row))


def row_text(mdp: TokenMDP, row: int, info: dict[str, Any]) -> Text:
    """Return the text that a row has just added a token to.

    A row that was reset in the same step no longer holds them; its last observation does.

    Args:
        mdp: the MDP after the step.
        row: the number of the row.
        info: the info of that row.

    Raises:
        ValueError: if the last observation holds no token ids.
    """
    if "final_info" not in info:
        return open_text(mdp, row)
    last = info["final_obs"]
    if not isinstance(last, dict) or "input_ids" not in last:
        raise ValueError(
            "this wrapper reads the ids of a response from its last observation under "
            'SAME_STEP, got one without "input_ids"; put wrappers that change observations outside'
        )
    end = int(last["attention_mask"].sum())
    ids = torch.as_tensor(last["input_ids"])
    if mdp.dialogue is not None:
        is_action = mdp.dialogue.former_is_action[row].to(ids.device)
        start = int(is_action.int().argmax())
        return Text(ids[:start], ids[start:end], is_action[start:end])
    start = end - int(info["final_info"]["response_length"])
    return Text(ids[:start], ids[start:end], torch.ones(end - start, dtype=torch.bool))


def _column(values: list[Any], first: Any, has_value: np.ndarray, tensors: bool) -> Any:
    """Return one key's values over rows; an array has the type of its first value."""
    if isinstance(first, _NUMBERS):
        column = np.zeros(len(values), dtype=type(first))
    elif isinstance(first, np.ndarray):
        column = np.zeros((len(values), *first.shape), dtype=first.dtype)
    else:
        column = np.full(len(values), None, dtype=object)
    for row in has_value.nonzero()[0]:
        column[row] = values[row]
    return torch.as_tensor(column) if tensors and column.dtype != np.dtype(object) else column
