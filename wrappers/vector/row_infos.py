"""A vector environment's info as one dictionary per row, and back.

Row by row, what happens to an info is what happens to a single environment's, so both share code.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium.vector import VectorEnv


def split_info(info: dict[str, Any], num_envs: int) -> list[dict[str, Any]]:
    """Return each row's entries, numbers as Python numbers.

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


def join_info(
    rows: list[dict[str, Any]], envs: VectorEnv[Any, Any, Any], tensors: bool
) -> dict[str, Any]:
    """Return the rows' infos in Gymnasium's form for vector environments.

    Args:
        rows: N dictionaries.
        envs: any vector environment of N rows; it knows the form.
        tensors: whether numbers and masks are tensors rather than arrays.
    """
    info: dict[str, Any] = {}
    for number, row in enumerate(rows):
        info = envs._add_info(info, row, number)
    return _as_tensors(info) if tensors else info


def paid_info(row: dict[str, Any]) -> dict[str, Any] | None:
    """Return the part of a row's info that tells of its step; None if it took none."""
    told = row.get("final_info", row)
    return told if "reward_terms" in told else None


def _as_tensors(info: dict[str, Any]) -> dict[str, Any]:
    return {key: _as_tensor(value) for key, value in info.items()}


def _as_tensor(value: Any) -> Any:
    if isinstance(value, dict):
        return _as_tensors(value)
    return value if value.dtype == np.dtype(object) else torch.as_tensor(value)
