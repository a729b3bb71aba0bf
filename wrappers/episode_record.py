"""Finished episodes as lines of JSON: what is written of one, and how to read it again."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rlhf_env.mdp.render import printable


@dataclass(frozen=True, kw_only=True)
class Episode:
    """One finished episode; lists have an entry per response token.

    Attributes:
        prompt_ids: token ids.
        response_ids: token ids, EOS included where there is one.
        prompt: the prompt's text without special tokens.
        text: the response's text without special tokens.
        rewards: what each step paid.
        reward_terms: name -> what each step paid in that term.
        ref_logprobs: log pi_ref(a|s) in nats.
        logprobs: log pi(a|s) in nats where actions carried it, else None.
        score: the reward model's score; 0 where a truncated episode has none.
        finish_reason: "eos" or "length".
        terminated: False where the episode was truncated.
        prompt_index: -1 where the prompt came from outside the task.
        seed: what ``reset`` was last given in this row, None if never; an episode without a seed
            of its own continues from there.
    """

    prompt_ids: Sequence[int]
    response_ids: Sequence[int]
    prompt: str
    text: str
    rewards: Sequence[float]
    reward_terms: Mapping[str, Sequence[float]]
    ref_logprobs: Sequence[float]
    logprobs: Sequence[float] | None
    score: float
    finish_reason: str
    terminated: bool
    prompt_index: int
    seed: int | None

    def __str__(self) -> str:
        """Return prompt, response and score for a terminal, control characters escaped."""
        return f"{printable(self.prompt)} | {printable(self.text)} | score {self.score:.4f}"


def append_episode(path: Path, episode: Episode) -> None:
    """Add a line to a file in one write, so that lines of several writers do not mix.

    Args:
        path: in an existing folder; the file is made if there is none.
        episode: what to write.
    """
    line = json.dumps(dataclasses.asdict(episode), allow_nan=False).encode() + b"\n"
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        written = os.write(handle, line)
    finally:
        os.close(handle)
    if written != len(line):
        raise OSError(f"{path} took {written} of a line's {len(line)} bytes; is the disk full?")


def read_episodes(path: str | Path) -> Iterator[Episode]:
    """Yield the recorded episodes; a last line that a crash has cut short is left out.

    Raises:
        ValueError: if a line is not an episode, naming it.
    """
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith("\n"):
                return
            try:
                yield Episode(**json.loads(line))
            except (TypeError, ValueError) as error:
                raise ValueError(
                    f"line {number} of {path} is no recorded episode: {error}"
                ) from error
