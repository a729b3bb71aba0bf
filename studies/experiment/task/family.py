"""What the tasks of a family are made with, as the command line names it.

Nothing is checked or built here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rlhf_env.tasks import family_options

# The optimum depends on the time left, which a table of states alone cannot express: its best
# policy would be taken for an agent's failure to find the optimum.
GRID_POLICY = "timed_table"
TABLES = ("table", "timed_table")


@dataclass(frozen=True, kw_only=True)
class FamilyOptions:
    """Options of a grid's families of tasks."""

    policy: str | None = None
    """What agents learn on the tasks of families: table (numbers for each state), timed_table (for
    each time and state), transformer (of the whole prefix). None given: timed_table with --horizon,
    because the optimum depends on the time left, else table."""
    task_options: tuple[str, ...] = ()
    """Options of families as name=value, such as needles=3; each family takes those it has."""

    @property
    def is_given(self) -> bool:
        """Whether anything differs from the families' own."""
        return self != FamilyOptions()

    @property
    def is_table(self) -> bool:
        """Whether a table was asked for, which learns with larger steps than a transformer."""
        return self.policy in TABLES

    def of(self, family: str) -> dict[str, Any]:
        """Return what `rlhf_env.load_task` is given for a task of a family."""
        known = family_options(family)
        pairs = (text.partition("=")[::2] for text in self.task_options)
        found = {name: as_number(value) for name, value in pairs if name in known}
        return found if self.policy is None else {**found, "policy": self.policy}

    def to_json(self) -> dict[str, Any]:
        """Return what is given as plain values."""
        fields = {"policy": self.policy, "task_options": list(self.task_options)}
        return {name: value for name, value in fields.items() if value}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> FamilyOptions:
        """Return what `to_json` described."""
        return cls(policy=fields.get("policy"), task_options=tuple(fields.get("task_options", ())))

    def or_default(self) -> FamilyOptions:
        """Return the same with the policy of a grid of horizons, if none is given."""
        return self if self.policy else dataclasses.replace(self, policy=GRID_POLICY)


def as_number(text: str) -> int | float:
    """Return a number that was typed, whole where it is written so.

    Raises:
        ValueError: if it is none.
    """
    try:
        return int(text)
    except ValueError:
        return float(text)
