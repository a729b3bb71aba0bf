"""The settings of `scripts/gains.py`. Torch is not imported."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Which values of which axis are compared, and by what."""

    results: tyro.conf.Positional[tuple[Path, ...]]
    """Folders of ablations, or their tables (results.csv under any name)."""
    axis: str = "density"
    """What is compared: density, granularity, agent, gamma, …"""
    over: str | None = None
    """The value that others are compared with (none given: the first of the table)."""
    measures: tuple[str, ...] = ("score",)
    """Columns, such as score, j_ratio, pass_at_1, kl or response_length."""


def check_settings(settings: Settings) -> None:
    """Refuse what cannot be read.

    Raises:
        ValueError: one sentence with what is wrong, what was given, and what would be right.
    """
    if not settings.results:
        raise ValueError("results must be folders of ablations or their tables, got none; name one")
    if not settings.measures:
        raise ValueError("measures must be columns such as score, got none; name one")
    for path in settings.results:
        if not path.exists():
            raise ValueError(f"results must be folders or tables that exist, got {path}; name one")
