"""The file of a round's pairs, in which people label the better response.

One JSON object per line: prompt, response_a, response_b, and preferred: "a", "b", "tie", or null
if it is not labeled yet.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rlhf_env.files import parse_json, write_atomically
from rlhf_env.rewards.feedback.records import Comparison, Votes
from studies.feedback_rounds.pairs import Pair

CHOICES = ("a", "b", "tie")


class LabelsMissing(Exception):
    """Some labels are missing; the message says what to do."""


def write_pairs(path: Path, pairs: Sequence[Pair], preferred: Iterable[str | None]) -> None:
    """Write pairs with what is known about them, as a whole or not."""
    rows = [
        {**dataclasses.asdict(pair), "preferred": choice}
        for pair, choice in zip(pairs, preferred, strict=True)
    ]
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    write_atomically(path, lines.encode())


def read_labels(path: Path, pairs: Sequence[Pair]) -> list[Comparison]:
    """Return the labeled pairs of a file.

    Args:
        path: what `write_pairs` wrote and people filled in.
        pairs: those that were written, to be found there unchanged.

    Raises:
        ValueError: if the file cannot be read or a line is not one of the pairs with a label,
            naming the line.
        LabelsMissing: if some are not labeled yet.
    """
    rows = _read_rows(path)
    if len(rows) != len(pairs):
        raise ValueError(
            f"{str(path)!r} must hold the {len(pairs)} pairs that were written, got {len(rows)}; "
            "put the missing lines back"
        )
    choices = [_choice(path, *row, pair) for row, pair in zip(rows, pairs, strict=True)]
    if missing := sum(choice is None for choice in choices):
        raise LabelsMissing(
            f"{missing} of {len(pairs)} pairs wait for a label: open {path}, replace null after "
            '"preferred" by "a", "b" or "tie" in every line, and run the same command again'
        )
    return [comparison(pair, str(choice)) for pair, choice in zip(pairs, choices, strict=True)]


def read_pairs(path: Path) -> list[Pair]:
    """Return the pairs of a file, labeled or not.

    Raises:
        ValueError: if the file cannot be read or a line is not a pair, naming the line.
    """
    return [_pair(path, number, row) for number, row in _read_rows(path)]


def comparison(pair: Pair, preferred: str) -> Comparison:
    """Return a labeled pair as `rlhf_env.rewards.train` reads it."""
    a_wins = preferred != "b"
    return Comparison(
        prompt=pair.prompt,
        chosen=pair.response_a if a_wins else pair.response_b,
        rejected=pair.response_b if a_wins else pair.response_a,
        votes=Votes(chosen=0.0, tie=1.0) if preferred == "tie" else Votes(),
    )


def _read_rows(path: Path) -> list[tuple[int, dict[str, Any]]]:
    """Return the objects of a file with their line numbers; empty lines do not count."""
    try:
        # Texts may hold other line ends, which JSON leaves as they are.
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{str(path)!r} must be a readable UTF-8 file, got: {error}") from error
    rows = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = parse_json(line)
        except ValueError as error:
            raise ValueError(f"{_place(path, number)} must hold JSON, got: {error}") from error
        if not isinstance(row, dict):
            raise ValueError(f"{_place(path, number)} must hold a JSON object, got {row!r:.60}")
        rows.append((number, row))
    return rows


def _pair(path: Path, number: int, row: dict[str, Any]) -> Pair:
    names = [field.name for field in dataclasses.fields(Pair)]
    texts = {name: row.get(name) for name in names}
    if not all(isinstance(text, str) for text in texts.values()):
        raise ValueError(
            f"{_place(path, number)} must have texts under {', '.join(names)}, got {row!r:.80}"
        )
    return Pair(**texts)  # type: ignore[arg-type]


def _choice(path: Path, number: int, row: dict[str, Any], pair: Pair) -> str | None:
    """Return the label of a line; None where there is none yet."""
    if _pair(path, number, row) != pair:
        raise ValueError(
            f"{_place(path, number)} must hold the pair that was written there, got another; "
            "undo the change, only the label may be filled in"
        )
    said = row.get("preferred")
    if said is None or said == "":
        return None
    choice = said.strip().lower() if isinstance(said, str) else said
    if choice not in CHOICES:
        raise ValueError(
            f'{_place(path, number)} must say "a", "b" or "tie" under preferred, got {said!r:.60}'
        )
    return choice


def _place(path: Path, number: int) -> str:
    return f"line {number} of {str(path)!r}"
