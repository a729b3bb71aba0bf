"""Finished episodes as lines of JSON: the record of one, and how to read a file of them."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rlhf_env.files import parse_json
from rlhf_env.mdp.render import printable


@dataclass(frozen=True, kw_only=True)
class Episode:
    """One finished episode; lists have an entry per action."""

    prompt_ids: Sequence[int]
    """Token ids of the prompt."""
    response_ids: Sequence[int]
    """Token ids of the response, EOS included where there is one; in a conversation with what the
    environment said."""
    prompt: str
    """The prompt's text without special tokens."""
    text: str
    """The response's text without special tokens."""
    rewards: Sequence[float]
    """The reward of each step."""
    reward_terms: Mapping[str, Sequence[float]]
    """name -> that term of each step's reward."""
    ref_logprobs: Sequence[float]
    """log pi_ref(a|s) in nats."""
    logprobs: Sequence[float] | None
    """log pi(a|s) in nats where actions held it, else None."""
    score: float
    """The reward model's score; 0 where a truncated episode has none."""
    finish_reason: str
    """"eos", "environment" or "length"."""
    terminated: bool
    """False where the episode was truncated."""
    prompt_index: int
    """-1 where the prompt is not one of the task's."""
    seed: int | None
    """The last seed given to ``reset`` in this row, None if there was none; an episode without a
    seed of its own continues from there."""
    is_action: Sequence[bool] | None = None
    """In a conversation, which of ``response_ids`` the agent chose; None where it chose all."""

    def __str__(self) -> str:
        """Return prompt, response and score for a terminal, control characters escaped."""
        return f"{printable(self.prompt)} | {printable(self.text)} | score {self.score:.4f}"


def append_episode(path: Path, episode: Episode) -> None:
    """Append a line to a file in one write, so that lines of several writers do not mix.

    Args:
        path: in an existing folder; the file is created if there is none.
        episode: what to write.

    Raises:
        OSError: if the line was not written completely.
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
    """Yield the recorded episodes; an incomplete last line, left by a crash, is skipped.

    Raises:
        ValueError: if a line is not an episode; the message gives its number.
    """
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith("\n"):
                return
            try:
                yield Episode(**parse_json(line))
            except (TypeError, ValueError) as error:
                raise ValueError(
                    f"line {number} of {path} is not a recorded episode: {error}"
                ) from error
