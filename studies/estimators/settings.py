"""What the study measures, and with how much work. Torch is not imported."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from studies.estimators.cells import DISPUTES
from studies.experiment.checks import check_out
from studies.experiment.numbers import whole_number


@dataclass(frozen=True, kw_only=True)
class Study:
    """Which estimators are measured."""

    disputes: tuple[str, ...] = tuple(DISPUTES)
    """Groups of estimators: kl, length, std, baseline, discount, critic, clip, importance,
    entropy."""
    draws: int = 2048
    """Updates to draw where they cannot be enumerated."""
    seed: int = 0
    """Seed of these draws, and of the noise on samplers and critics."""
    out: Path = Path("runs/estimators")
    """Folder that gets estimators.csv and estimators.md."""


def check_study(study: Study) -> None:
    """Refuse what cannot be run.

    Raises:
        ValueError: one sentence with what is wrong, what was given, and what would be right.
    """
    unknown = [name for name in study.disputes if name not in DISPUTES]
    if unknown or not study.disputes:
        raise ValueError(
            f"disputes must be among {', '.join(DISPUTES)}, got {', '.join(unknown) or 'none'}"
        )
    whole_number("draws", study.draws, 2)
    whole_number("seed", study.seed, 0)
    check_out(study.out)
