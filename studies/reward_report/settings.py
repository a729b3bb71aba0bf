"""The settings of `scripts/reward_report.py`. No file is read here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from rlhf_env.rewards.training.settings import FreshModel
from studies.reward_training.settings import Fitting

# Options of earlier versions, and what they are called now.
FORMER_OPTIONS = {
    f"--fresh.{name}": f"--{name}"
    for name in ("vocab-size", "hidden-size", "layers", "window", "initial-spread")
}


@dataclass(frozen=True, kw_only=True)
class Settings(Fitting):
    """Train a reward model and judge it, beside simple baselines, by prompts it never saw."""

    data: Path
    """JSONL or Parquet file (.gz too) to train on; a tenth of its prompts says when to stop."""
    test: Path
    """File of the same kind to judge by; prompts of the training file are left out."""
    out: Path
    """New or empty folder for the reward model, figures.json, report.md and calibration.png."""
    model: str | None = None
    """Folder or hub id of a decoder-only language model; none given: a fresh small one."""
    reward: Path | None = None
    """Folder of a trained reward to judge instead of training; the baselines learn from --data."""
    also: Path | None = None
    """File of other comparisons to judge by, in which chosen is always right."""
    also_by: str = "subset"
    """Column of --also whose values are judged apart, also by what is before a slash."""
    fresh: tyro.conf.OmitArgPrefixes[FreshModel]

    def check(self) -> None:
        """Refuse a kind that does not exist, and two models.

        Raises:
            ValueError: naming what was given.
        """
        super().check()
        if self.model is not None and self.reward is not None:
            raise ValueError(
                f"--model must be left out where --reward is given, got {self.model!r} and "
                f"{str(self.reward)!r}"
            )
