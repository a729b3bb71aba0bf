"""The settings of the two commands on reward models. No file is read here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from rlhf_env.rewards.feedback.records import KINDS
from rlhf_env.rewards.training.settings import LossSettings, RewardSettings


@dataclass(frozen=True, kw_only=True)
class Fitting:
    """How people's data are read, and how a reward model is fitted to them."""

    kind: str | None = None
    """comparisons, rankings, ratings, thumbs or spans (none given: by the names of the columns)."""
    field: tuple[str, ...] = ()
    """Where columns are called otherwise: prompt=question prompt=instruction+input prompt= ..."""
    fit: tyro.conf.OmitArgPrefixes[RewardSettings]
    losses: tyro.conf.OmitArgPrefixes[LossSettings]

    @property
    def fields(self) -> dict[str, str]:
        """The renamed columns.

        Raises:
            ValueError: if one is not given as name=column.
        """
        for words in self.field:
            if "=" not in words:
                raise ValueError(f"--field must be given as name=column, got {words!r}")
        return {name: column for name, _, column in (w.partition("=") for w in self.field)}

    def check(self) -> None:
        """Refuse a kind that does not exist.

        Raises:
            ValueError: naming those that do.
        """
        if self.kind is not None and self.kind not in KINDS:
            raise ValueError(f"--kind must be one of {', '.join(KINDS)}, got {self.kind!r}")


@dataclass(frozen=True, kw_only=True)
class Settings(Fitting):
    """Train a reward model on what people said about responses."""

    data: Path
    """JSONL or Parquet file (.gz too) of pairs, votes, rankings, ratings, thumbs or marks."""
    model: str
    """Folder or hub id of a decoder-only language model, whose trunk gets a new head."""
    out: Path
    """New or empty folder for the reward model and figures.json."""
    held_out: Path | None = None
    """File whose loss says when to stop; a tenth of the data's prompts if none is given."""
