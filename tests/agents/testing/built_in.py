"""Which built-in agents are checked at once, and which among what takes minutes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

# One of each kind of learner.
QUICK = ("ppo", "grpo", "trpo", "reinforce", "dpo", "kto", "nash_md", "reval", "best_of_n")


def quick_first(names: Iterable[str]) -> list[Any]:
    """The names as parameters, those that are not `QUICK` marked as slow."""
    return [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in names]
