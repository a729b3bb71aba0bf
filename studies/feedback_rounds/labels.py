"""The file of a round's pairs, in which people label the better response.

One JSON object per line: prompt, response_a, response_b, and preferred: "a", "b", "tie",
"both_bad" (which counts as a tie), "skip" (which counts as nothing), a list of these by several
people, or null if it is not labeled yet.
"""

from __future__ import annotations

import dataclasses
import json
import shlex
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from rlhf_env.files import parse_json, write_atomically
from rlhf_env.rewards.feedback.records import Comparison, Votes
from studies.feedback_rounds.pairs import Pair

LABEL = "scripts/label.py"
# In a round's folder.
PAIRS, PAGE = "pairs.jsonl", "labeling"
CHOICES = ("a", "b", "tie", "both_bad", "skip")

# What is said about a pair, by one person or several; None: nothing yet.
Choices: TypeAlias = tuple[str, ...] | None


class LabelsMissing(Exception):
    """Some labels are missing; the message says what to do."""


def write_pairs(path: Path, pairs: Sequence[Pair], preferred: Iterable[Choices]) -> None:
    """Write pairs with what is known about them, as a whole or not."""
    rows = [
        {**dataclasses.asdict(pair), "preferred": _spelled(choices)}
        for pair, choices in zip(pairs, preferred, strict=True)
    ]
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    write_atomically(path, lines.encode())


def read_labels(path: Path, pairs: Sequence[Pair]) -> list[Comparison]:
    """Return the labeled pairs of a file; those that all skipped are left out.

    Args:
        path: what `write_pairs` wrote and people filled in.
        pairs: those that were written, to be found there unchanged.

    Raises:
        ValueError: if the file cannot be read or a line is not one of the pairs with a label,
            naming the line; or if all pairs were skipped.
        LabelsMissing: if some are not labeled yet.
    """
    choices = read_all_choices(path, pairs)
    labeled = [comparison(pair, said) for pair, said in zip(pairs, choices, strict=True)]
    kept = [label for label in labeled if label is not None]
    if not kept:
        raise ValueError(f"{str(path)!r} must hold a pair that was not skipped, got none")
    return kept


def read_all_choices(path: Path, pairs: Sequence[Pair]) -> list[tuple[str, ...]]:
    """Return what a file says of each pair, one of `CHOICES` for each person.

    Raises:
        ValueError: if the file cannot be read, or a line is not one of the pairs.
        LabelsMissing: if some are not labeled yet.
    """
    found = read_choices(path, pairs)
    choices = [said for said in found if said is not None]
    if missing := len(found) - len(choices):
        raise LabelsMissing(
            f"{missing} of {len(pairs)} pairs wait for a label: run {page_command(path.parent)} "
            f'and label them in a browser, or open {path} and replace null after "preferred" by '
            '"a", "b" or "tie" in every line; then run the same command again'
        )
    return choices


def read_choices(path: Path, pairs: Sequence[Pair]) -> list[Choices]:
    """Return what a file says of each pair, as in `read_labels`.

    Raises:
        ValueError: if the file cannot be read, or a line is not one of the pairs.
    """
    rows = _read_rows(path)
    if len(rows) != len(pairs):
        raise ValueError(
            f"{str(path)!r} must hold the {len(pairs)} pairs that were written, got {len(rows)}; "
            "put the missing lines back"
        )
    return [_choices(path, *row, pair) for row, pair in zip(rows, pairs, strict=True)]


def page_command(folder: Path) -> str:
    """Return the command that opens a page to label the pairs of a round's folder."""
    program = ["rlhf-env", "label"] if sys.argv[0][:8] == "rlhf-env" else ["python", LABEL]
    return shlex.join([*program, "--data", str(folder / PAIRS), "--out", str(folder / PAGE)])


def read_pairs(path: Path) -> list[Pair]:
    """Return the pairs of a file, labeled or not.

    Raises:
        ValueError: if the file cannot be read or a line is not a pair, naming the line.
    """
    return [_pair(path, number, row) for number, row in _read_rows(path)]


def comparison(pair: Pair, choices: Sequence[str]) -> Comparison | None:
    """Return a labeled pair as `rlhf_env.rewards.train` reads it; None if all skipped it.

    The side of more votes is the chosen one; the first where they are equal.
    """
    a, b = (float(sum(choice == side for choice in choices)) for side in "ab")
    tie = float(sum(choice in ("tie", "both_bad") for choice in choices))
    if a + b + tie == 0:
        return None
    sides = [(pair.response_a, a), (pair.response_b, b)]
    if b > a:
        sides.reverse()
    (chosen, won), (rejected, lost) = sides
    return Comparison(
        prompt=pair.prompt,
        chosen=chosen,
        rejected=rejected,
        votes=Votes(chosen=won, tie=tie, rejected=lost),
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


def _choices(path: Path, number: int, row: dict[str, Any], pair: Pair) -> Choices:
    """Return what a line says; None where nothing is said yet."""
    if _pair(path, number, row) != pair:
        raise ValueError(
            f"{_place(path, number)} must hold the pair that was written there, got another; "
            "undo the change, only the label may be filled in"
        )
    said = row.get("preferred")
    if said in (None, "", []):
        return None
    spelled = [one.strip().lower() if isinstance(one, str) else one for one in _listed(said)]
    for one in spelled:
        if one not in CHOICES:
            raise ValueError(
                f'{_place(path, number)} must say "a", "b" or "tie" under preferred, got '
                f"{one!r:.60}"
            )
    return tuple(spelled)


def _listed(said: Any) -> list[Any]:
    return said if isinstance(said, list) else [said]


def _spelled(choices: Choices) -> str | list[str] | None:
    if choices is None:
        return None
    return choices[0] if len(choices) == 1 else list(choices)


def _place(path: Path, number: int) -> str:
    return f"line {number} of {str(path)!r}"
