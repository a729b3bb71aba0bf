"""What is timed: each piece of work, the same for every side, and how a side is asked to do it.

A side is a separate program in its own environment. It prepares a work, reports that it is ready,
and then does one step of it for every line it reads, answering each with the seconds and the
response tokens of the step. Steps of several sides can thus be timed in turn.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO


@dataclass(frozen=True, kw_only=True)
class Work:
    """Sizes of one step of training, and the model that it trains."""

    algorithm: str
    """ "grpo", "rloo", "ppo" or "dpo"."""
    vocab_size: int = 512
    """V."""
    hidden_size: int = 128
    """Width of the model."""
    intermediate_size: int = 344
    """Width of its feed-forward layers."""
    layers: int = 5
    """Number of layers."""
    heads: int = 4
    """Attention heads of every layer."""
    tied: bool = False
    """Whether the output embedding is the input embedding."""
    mean_tokens: float | None = None
    """Response tokens that a geometric length gives on average; None lets every response end at the
    limit.
    """
    prompts: int = 4
    """Distinct prompts of a step."""
    group_size: int = 8
    """Responses to each."""
    prompt_tokens: int = 32
    """Length of every prompt."""
    new_tokens: int = 64
    """Limit of a response."""
    epochs: int = 1
    """Passes over a rollout."""
    phase: str = "all"
    """The part of a step that is timed: "all" of it, its "rollout" or its "update"."""

    @property
    def episodes(self) -> int:
        """Responses of a step."""
        return self.prompts * self.group_size


@dataclass(frozen=True, kw_only=True)
class Order:
    """The instructions that a side gets when it starts."""

    work: Work
    """What to do."""
    folder: Path
    """Model, tokenizer and prompts."""
    threads: int
    """Threads of PyTorch; 0 are those that this project's commands would choose."""
    steps: int
    """Maximum number of steps."""
    learning_rate: float = 1e-6
    """Small, so that the model and its lengths hardly change."""
    dtype: str = "float32"
    """Of the weights, as torch names it."""
    kl_coef: float = 0.05
    """Weight of the KL penalty, for which every side evaluates the reference."""

    def to_json(self) -> str:
        """Return the order as one line."""
        return json.dumps(asdict(self) | {"folder": str(self.folder)})

    @classmethod
    def from_json(cls, line: str) -> Order:
        """Read what `to_json` wrote."""
        fields = json.loads(line)
        return cls(**fields | {"work": Work(**fields["work"]), "folder": Path(fields["folder"])})

    def prompts(self) -> list[list[int]]:
        """Token ids of the prompts of all steps."""
        return json.loads((self.folder / "prompts.json").read_text())


class Bell:
    """A side's channel to `benchmarks.compare`."""

    def __init__(self, answers: TextIO) -> None:
        """Answer to a stream that nothing else writes to."""
        self._answers = answers

    def ready(self, **facts: Any) -> None:
        """Say that the work is prepared, and with which versions."""
        self._say(facts)

    def wait(self) -> bool:
        """Wait for the next step to be requested; return False when there are no more."""
        return sys.stdin.readline().strip() == "step"

    def done(self, seconds: float, tokens: int) -> None:
        """Report a step."""
        self._say({"seconds": seconds, "tokens": tokens})

    def _say(self, facts: dict[str, Any]) -> None:
        print(json.dumps(facts), file=self._answers, flush=True)


@contextmanager
def conversation() -> Iterator[tuple[Order, Bell]]:
    """Read the order from the command line; what libraries print goes to standard error."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    with answers:
        yield Order.from_json(sys.argv[1]), Bell(answers)
