"""What a task can be made of, as the command lines of several scripts name it.

Nothing is checked or read here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tyro


@dataclass(frozen=True, kw_only=True)
class OwnTask:
    """What makes a task of a language model of one's own."""

    prompts: Path | None = None
    """Text (a prompt per line), JSONL or Parquet file; a tenth is kept for the evaluation."""
    prompt_field: str = "text"
    """Field of a JSONL or Parquet row that holds the prompt."""
    prompt_sentences: int | None = None
    """Take only this many sentences from the start of each text (none given: all)."""
    ratings: Path | None = None
    """JSONL or Parquet file of rated texts; the reward is learned from nine tenths of it."""
    ratings_text: str = "text"
    """Field of a rating's row that holds the text."""
    ratings_value: str = "mean"
    """Field of a rating's row that holds the rating, a number; higher is better."""
    reward: str | None = None
    """Your own f(prompts, responses) of lists of texts, as module:function or file.py:function, or
    a folder that scripts/train_reward.py wrote."""
    max_prompt_tokens: int | None = None
    """Longer prompts are left out (none given: 64); only with --model."""
    max_new_tokens: int | None = None
    """Longest response in tokens (none given: the task's own; 64 with --model)."""

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        fields = dataclasses.asdict(self)
        return {name: str(v) if isinstance(v, Path) else v for name, v in fields.items()}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> OwnTask:
        """Return what `to_json` described; other fields are passed over."""
        own: dict[str, Any] = {known.name: fields[known.name] for known in dataclasses.fields(cls)}
        for name in ("prompts", "ratings"):
            own[name] = None if own[name] is None else Path(own[name])
        return cls(**own)


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What is asked and who judges: a built-in task, or a model with prompts and a reward."""

    task: str | None = None
    """A built-in task (toy15, reviews) or module:function. None given, and no model either:
    reviews for training, what an agent was trained on for its evaluation."""
    model: str | None = None
    """Folder or hub id of a language model; needs --prompts, and --ratings or --reward."""
    own: tyro.conf.OmitArgPrefixes[OwnTask] = field(default_factory=OwnTask)
    kl_coef: float | None = None
    """Weight of the KL penalty, >= 0 (none given: the task's own; 0.05 with --model)."""

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain values, side by side."""
        return {
            "task": self.task,
            "model": self.model,
            **self.own.to_json(),
            "kl_coef": self.kl_coef,
        }

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Problem:
        """Return what `to_json` described; other fields are passed over."""
        own = OwnTask.from_json(fields)
        kept = {name: fields[name] for name in ("task", "model", "kl_coef")}
        return cls(own=own, **kept)
