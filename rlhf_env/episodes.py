"""Finished episodes as lines of JSON: the record of one, and files of them."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from rlhf_env.files import parse_json, write_atomically
from rlhf_env.mdp.render import printable
from rlhf_env.mdp.transition import ends_text, finish_reasons
from rlhf_env.rollout import Rollout
from rlhf_env.task import Task


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
    line = _line(episode)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        written = os.write(handle, line)
    finally:
        os.close(handle)
    if written != len(line):
        raise OSError(f"{path} took {written} of a line's {len(line)} bytes; is the disk full?")


def write_episodes(path: Path, episodes: Iterable[Episode]) -> None:
    """Write a file of episodes, which is either whole or not there.

    Args:
        path: in an existing folder; a file of that name is replaced.
        episodes: a line each.
    """
    write_atomically(path, b"".join(map(_line, episodes)))


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


def rollout_episodes(rollout: Rollout, task: Task) -> Iterator[Episode]:
    """Yield the episodes of a rollout.

    Args:
        rollout: episodes with their rewards; those with a log-probability of NaN are recorded
            without any.
        task: decodes the ids.
    """
    responses, are_actions = rollout.responses(), rollout.responses_are_actions()
    last = rollout.tokens[rollout.last_action]
    reasons = finish_reasons(last, torch.ones_like(last).bool(), ends_text(last, task), task)
    for row in range(len(rollout)):
        at = rollout.is_action[row]
        response, is_action = responses[row], are_actions[row]
        prompt = rollout.tokens[row, : int(rollout.prompt_lengths[row])]
        logprobs = rollout.logprobs[row, at]
        terms = {name: term[row, at].tolist() for name, term in rollout.reward_terms.items()}
        yield Episode(
            prompt_ids=prompt.tolist(),
            response_ids=response.tolist(),
            prompt=task.decode(prompt),
            text=task.decode(response),
            rewards=rollout.rewards[row, at].tolist(),
            reward_terms=terms,
            ref_logprobs=rollout.ref_logprobs[row, at].tolist(),
            logprobs=None if logprobs.isnan().any() else logprobs.tolist(),
            score=float(rollout.score[row]),
            finish_reason=str(reasons[row]),
            terminated=bool(rollout.terminated[row]),
            prompt_index=int(rollout.prompt_index[row]),
            seed=None,
            is_action=None if is_action.all() else is_action.tolist(),
        )


def _line(episode: Episode) -> bytes:
    return json.dumps(dataclasses.asdict(episode), allow_nan=False).encode() + b"\n"
