"""What people are asked about: items, made of the rows of a file."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlhf_env.rewards.feedback.conversations import prompt_and_sides, row_prompt
from rlhf_env.rewards.feedback.prompt_and_response import (
    Prompt,
    check_prompt,
    check_response,
    prompt_text,
)
from rlhf_env.text.rows import ROW_KINDS, file_kind, read_objects
from studies.labelling.settings import ASKS

# Each response that is ranked has a letter and a row of ranks.
MAX_RANKED = 9
BY_COUNT = {1: "thumbs", 2: "compare"}
COLUMNS = "response_a/response_b, chosen/rejected, responses, response or completion"


@dataclass(frozen=True, kw_only=True)
class Item:
    """One question to an annotator."""

    number: int
    """From 1 on, in the order of the file."""
    ask: str
    """One of `ASKS`."""
    prompt: Prompt
    """A text, or the messages of a chat."""
    responses: tuple[str, ...]
    """Two to compare, several to rank, one otherwise; in the order of the file."""


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """A row, read."""

    number: int
    ask: str
    prompt: Prompt
    responses: tuple[str, ...]
    stage: str
    """Which policy wrote it, where the row says so."""


def read_items(path: Path, ask: str | None) -> list[Item]:
    """Return the items of a file.

    Rows with one response are put together by their prompt where responses are compared or ranked:
    the n-th of each ``stage`` if they have that column, else all. More than two are compared pair
    by pair. Of equal responses one is shown.

    Args:
        path: of `ROW_KINDS`.
        ask: one of `ASKS`; None: as each row says, or by the number of its responses.

    Raises:
        ValueError: if the file or a row cannot be used, or nothing is left to ask.
    """
    if file_kind(path) not in ROW_KINDS:
        raise ValueError(f"--data must be a {' or '.join(ROW_KINDS)} file, got {str(path)!r}")
    rows = [_read(n, row, ask) for n, row in enumerate(read_objects(path, "--data"), start=1)]
    questions = [question for row in _together(rows) for question in _questions(row)]
    if not questions:
        raise ValueError(
            f"--data must hold something to {ask or 'judge'}, got none in {str(path)!r}: responses "
            "are compared and ranked with different ones to the same prompt"
        )
    return [
        Item(number=number, ask=row.ask, prompt=row.prompt, responses=responses)
        for number, (row, responses) in enumerate(questions, start=1)
    ]


def check_file(path: Path, option: str) -> None:
    """Raise ValueError unless a path is a file; `studies.experiment` would load torch for it."""
    if not path.is_file():
        what = "a folder" if path.is_dir() else "no file"
        raise ValueError(f"{option} must be an existing file, got {str(path)!r}, which is {what}")


def _read(number: int, row: Mapping[str, Any], ask: str | None) -> _Asked:
    try:
        prompt, responses = _prompt_and_responses(row)
        check_prompt(prompt)
        for response in responses:
            check_response("response", response)
        wanted = ask or row.get("ask") or BY_COUNT.get(len(responses), "rank")
        if wanted not in ASKS:
            raise ValueError(f"ask must be one of {', '.join(ASKS)}, got {wanted!r:.60}")
    except ValueError as error:
        raise ValueError(f"--data: row {number}: {error}") from error
    stage = str(row.get("stage", ""))
    return _Asked(number=number, ask=wanted, prompt=prompt, responses=responses, stage=stage)


def _prompt_and_responses(row: Mapping[str, Any]) -> tuple[Prompt, tuple[Any, ...]]:
    if {"chosen", "rejected"} <= row.keys():
        prompt, *sides = prompt_and_sides(row)
        return prompt, tuple(sides)
    if "prompt" not in row:
        raise ValueError(f"there is no 'prompt', got the columns {sorted(row)}")
    if {"response_a", "response_b"} <= row.keys():
        return row_prompt(row), (row["response_a"], row["response_b"])
    if isinstance(row.get("responses"), list) and row["responses"]:
        return row_prompt(row), tuple(row["responses"])
    for name in ("response", "completion"):
        if name in row:
            return row_prompt(row), (row[name],)
    raise ValueError(f"there must be {COLUMNS}, got the columns {sorted(row)}")


def _together(rows: Sequence[_Asked]) -> Iterable[_Asked]:
    """Put single responses to a prompt into one row where they are compared or ranked."""
    found: dict[tuple[Any, ...], list[_Asked]] = defaultdict(list)
    seen: Counter[tuple[str, str]] = Counter()
    for row in rows:
        if len(row.responses) > 1 or row.ask not in ("compare", "rank"):
            found[("alone", row.number)].append(row)
            continue
        text = prompt_text(row.prompt)
        # Without stages all responses to a prompt belong together.
        turn = seen[text, row.stage] if row.stage else 0
        seen[text, row.stage] += 1
        found[text, row.ask, turn].append(row)
    for group in found.values():
        responses = tuple(itertools.chain.from_iterable(row.responses for row in group))
        first = group[0]
        yield _Asked(
            number=first.number,
            ask=first.ask,
            prompt=first.prompt,
            responses=responses,
            stage=first.stage,
        )


def _questions(row: _Asked) -> Iterator[tuple[_Asked, tuple[str, ...]]]:
    different = tuple(dict.fromkeys(row.responses))
    if row.ask == "compare":
        yield from ((row, pair) for pair in itertools.combinations(different, 2))
    elif row.ask != "rank":
        yield from ((row, (response,)) for response in different)
    elif len(different) > MAX_RANKED:
        raise ValueError(
            f"--data: row {row.number}: at most {MAX_RANKED} responses can be ranked, got "
            f"{len(different)}; split the row, or choose --ask compare"
        )
    elif len(different) > 1:
        yield row, different
