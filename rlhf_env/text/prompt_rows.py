"""Prompts as rows of a data set: what was asked, and the other columns of the row.

A reward is a function of the state, and the state knows a prompt by its token ids; so its row is
found by them too.
"""

from __future__ import annotations

import copy
import reprlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rlhf_env.text.text_ids import is_chat

# TRL keeps these from reward functions too: a recorded completion is not the policy's.
NOT_COLUMNS = frozenset({"prompt", "completion", "completions", "completion_ids"})


@dataclass(frozen=True)
class PromptRow:
    """One row of a data set."""

    prompt: Any
    """A text, a list of chat messages, or token ids."""
    columns: Mapping[str, Any] = field(default_factory=dict)
    """The row's other values, by column."""

    @property
    def messages(self) -> list[dict[str, Any]] | None:
        """The prompt's chat messages; None if it is not a chat."""
        return [dict(message) for message in self.prompt] if is_chat(self.prompt) else None


class PromptRows:
    """The rows of all prompts of a task, found by token ids.

    Attributes:
        names: the columns that any row has, sorted.
        ambiguous: of these, the columns in which two rows with the same prompt differ, with a
            sentence that names the two.
    """

    def __init__(self, rows: Iterable[tuple[Tensor, PromptRow]] = ()) -> None:
        """Keep the row of each prompt, given with the prompt's token ids."""
        self._rows: dict[bytes, PromptRow] = {}
        self.ambiguous: dict[str, str] = {}
        for ids, row in rows:
            if row.columns or is_chat(row.prompt):
                self._add(_key(ids), row)
        self.names = sorted({name for row in self._rows.values() for name in row.columns})

    def __len__(self) -> int:
        """Return the number of different prompts."""
        return len(self._rows)

    def updated(self, other: PromptRows) -> PromptRows:
        """Return these rows and those of ``other``, which takes precedence."""
        if not len(other):
            return self
        both = PromptRows()
        both._rows = self._rows | other._rows
        both.ambiguous = self.ambiguous | other.ambiguous
        both.names = sorted({*self.names, *other.names})
        return both

    def of(self, prompt: Tensor) -> PromptRow | None:
        """Return a copy of the row of a prompt's token ids; None if it is not one of these."""
        row = self._rows.get(_key(prompt))
        # A reward may write into what it gets.
        return copy.deepcopy(row)

    def _add(self, key: bytes, row: PromptRow) -> None:
        former = self._rows.setdefault(key, row)
        if former is row:
            return
        for name in {*former.columns, *row.columns}:
            one, other = former.columns.get(name), row.columns.get(name)
            if not _same(one, other):
                self.ambiguous.setdefault(
                    name,
                    f"{reprlib.repr(one)} and {reprlib.repr(other)} for the same prompt "
                    f"{reprlib.repr(row.prompt)}",
                )


def _key(ids: Any) -> bytes:
    # A reward that is called by hand may get lists of ids.
    return torch.as_tensor(ids).detach().cpu().numpy().astype(np.int64).tobytes()


def _same(one: Any, other: Any) -> bool:
    try:
        return one is other or bool(np.all(one == other))
    except ValueError:
        # Arrays of different shapes.
        return False
