"""What one run of an experiment gives back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """What a run found.

    Attributes:
        row: numbers of the evaluation after training.
        curve: numbers of every update, each with "update".
        samples: example episodes, as `studies.reporting.samples` reads them.
    """

    row: dict[str, float]
    curve: list[dict[str, float]]
    samples: list[dict[str, Any]] = field(default_factory=list)
