"""The result of one run of an experiment."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """What a run found."""

    row: dict[str, float]
    """Numbers of the evaluation after training."""
    curve: list[dict[str, float]]
    """Numbers of every update, each with "update"."""
    samples: list[dict[str, Any]] = field(default_factory=list)
    """Example episodes, as `studies.reporting.samples` reads them."""
