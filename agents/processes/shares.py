"""Which rows of a batch each process works on: consecutive ones, as many as the others or one more.

The shares depend on the numbers of rows and processes alone, so that every process knows them all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor

from agents.processes import group

Item = TypeVar("Item")


def own_rows(total: int) -> Tensor:
    """Return the numbers of this process's rows, of ``total``; none if there are too few."""
    return own_part(torch.arange(total))


def own_part(rows: Tensor) -> Tensor:
    """Return this process's part of some rows [b]."""
    return rows if group.count() == 1 else rows.tensor_split(group.count())[group.rank()]


def own_items(items: Sequence[Item]) -> list[Item]:
    """Return this process's part of a sequence."""
    return [items[i] for i in own_rows(len(items)).tolist()]
