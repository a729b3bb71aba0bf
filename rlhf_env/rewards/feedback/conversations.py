"""Whole conversations, of which the chosen and the rejected share all but the last turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, cast

from rlhf_env.rewards.feedback.prompt_and_response import Prompt, check_response

Row: TypeAlias = Mapping[str, Any]
# Where a turn of an assistant begins in the transcripts of arXiv:2204.05862.
_TURN = "\n\nAssistant:"
_OTHER_TURN = "\n\nHuman:"


def row_prompt(row: Row) -> Prompt:
    """Return the prompt of a row: a text, or the messages of a chat."""
    prompt = row["prompt"]
    return tuple(prompt) if isinstance(prompt, list) else prompt


def prompt_and_sides(row: Row) -> tuple[Prompt, Any, Any]:
    """Return prompt, chosen and rejected; whole conversations are cut before their last turn.

    Raises:
        ValueError: if they are conversations that do not share all but the last turn.
    """
    chosen, rejected = row["chosen"], row["rejected"]
    if isinstance(chosen, list) and isinstance(rejected, list):
        return _cut_chats(row.get("prompt"), chosen, rejected)
    if row.get("prompt") is not None:
        return row_prompt(row), chosen, rejected
    check_response("chosen", chosen)
    check_response("rejected", rejected)
    try:
        return _cut_transcripts(str(chosen), str(rejected))
    except ValueError as error:
        raise ValueError(f"{error}; got the columns {sorted(row)}") from error


def _cut_transcripts(chosen: str, rejected: str) -> tuple[str, str, str]:
    alike = 0
    for first, second in zip(chosen, rejected, strict=False):
        if first != second:
            break
        alike += 1
    cut = chosen.rfind(_TURN, 0, alike)
    if cut < 0:
        raise ValueError(
            f"chosen and rejected without a prompt must begin with the same turns up to {_TURN!r}, "
            f"got {chosen!r:.40} and {rejected!r:.40}; name the column of the prompt with fields"
        )
    cut += len(_TURN)
    sides = (chosen[cut:], rejected[cut:])
    if any(_OTHER_TURN in side for side in sides):
        raise ValueError(
            "chosen and rejected must differ in their last turn only, got more turns after it"
        )
    return chosen[:cut], *sides


def _cut_chats(
    prompt: Any, chosen: Sequence[Any], rejected: Sequence[Any]
) -> tuple[Prompt, str, str]:
    for message in (*chosen, *rejected):
        if not isinstance(message, Mapping) or not isinstance(message.get("content"), str):
            raise ValueError(f"messages must have a role and a content, got {message!r:.60}")
    if not len(chosen) == len(rejected) or chosen[:-1] != rejected[:-1]:
        raise ValueError(
            "chosen and rejected must differ in their last message only, got conversations of "
            f"{len(chosen)} and {len(rejected)} messages that part earlier"
        )
    before = tuple(cast(Sequence[Mapping[str, str]], chosen[:-1]))
    if not before:
        if prompt is None:
            raise ValueError("chosen and rejected must hold the prompt's messages, got one message")
        before = tuple(prompt) if isinstance(prompt, list) else prompt
    return before, chosen[-1]["content"], rejected[-1]["content"]
