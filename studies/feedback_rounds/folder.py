"""The folder of some rounds: what is in it.

::

settings.json              the settings; a folder holds one run only
rounds.jsonl, rounds.csv   the figures of the finished rounds
round_1/pairs.jsonl        the pairs of responses that are to be labeled
round_1/labels.jsonl       the same with labels: this is what people fill in
round_1/labeling/          what people said in a browser, if `scripts/label.py` was used
round_1/reward/            the reward learned from all labels so far; none under DPO
round_1/reward.json        how well it agrees with labels; likewise
round_1/policy/            the agent's metrics and checkpoints
round_1/figures.json       what the round led to; written last
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from rlhf_env.files import read_json, write_atomically
from studies.results.csv_files import as_csv

Figures = Mapping[str, float | int | None]


@dataclass(frozen=True, kw_only=True)
class RoundFolder:
    """The files of one round."""

    out: Path
    """The folder of all rounds."""
    number: int
    """From 1 on."""

    @property
    def path(self) -> Path:
        """The round's own folder."""
        return self.out / f"round_{self.number}"

    @property
    def pairs(self) -> Path:
        """The pairs to be labeled."""
        return self.path / "pairs.jsonl"

    @property
    def labels(self) -> Path:
        """The pairs with labels."""
        return self.path / "labels.jsonl"

    @property
    def reward(self) -> Path:
        """The learned reward."""
        return self.path / "reward"

    @property
    def reward_figures(self) -> Path:
        """How well it agrees with labels."""
        return self.path / "reward.json"

    @property
    def policy(self) -> Path:
        """The agent's metrics and checkpoints."""
        return self.path / "policy"

    @property
    def figures(self) -> Path:
        """What the round led to."""
        return self.path / "figures.json"


def write_round_metrics(path: Path, figures: Figures) -> None:
    """Write figures as a whole or not."""
    write_atomically(path, (json.dumps(dict(figures), indent=2) + "\n").encode())


def read_round_metrics(path: Path) -> dict[str, Any]:
    """Return what `write_round_metrics` wrote.

    Raises:
        ValueError: if it is damaged.
    """
    try:
        found = read_json(path)
    except (OSError, ValueError) as error:
        raise ValueError(f"{str(path)!r} must hold a round's figures, got: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{str(path)!r} must hold a round's figures, got {found!r:.60}")
    return found


def write_tables(out: Path, rounds: Sequence[Figures]) -> None:
    """Write the figures of all finished rounds, each file as a whole or not."""
    lines = "".join(json.dumps(dict(figures)) + "\n" for figures in rounds)
    write_atomically(out / "rounds.jsonl", lines.encode())
    table = pd.DataFrame([dict(figures) for figures in rounds])
    write_atomically(out / "rounds.csv", as_csv(table))
