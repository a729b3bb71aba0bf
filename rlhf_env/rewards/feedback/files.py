"""Preference data from files, data sets and lists, with irregular rows counted.

What a row may look like is in `rlhf_env.rewards.feedback.rows`.
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rlhf_env.checks import check_choice
from rlhf_env.rewards.feedback.conversations import Row
from rlhf_env.rewards.feedback.data import KINDS, PreferenceData
from rlhf_env.rewards.feedback.prompt_and_response import (
    UnusableResponse,
    check_finite,
    prompt_text,
)
from rlhf_env.rewards.feedback.records import Record
from rlhf_env.rewards.feedback.rows import FORMATS, RowFormat
from rlhf_env.text.rows import ROW_KINDS, file_kind, read_rows

_FORMATS = ".jsonl, .json (lines) or .parquet, optionally with .gz"
_UNUSABLE = "left out for a response that is empty or no text"
_IDENTICAL = "with two equal responses, which teach nothing"
_REPEATED = "that repeat an earlier comparison"
_CONTRADICTORY = "that contradict an earlier row about the same two responses"
_SCORED_AGAINST = "whose chosen_score is below the rejected_score, as if the two were swapped"


def read_preferences(
    source: Any,
    *,
    kind: str | None = None,
    fields: Mapping[str, str] | None = None,
    option: str = "data",
) -> PreferenceData:
    """Return the records of a file, a data set, or a list of rows.

    Rows with a response that is empty or no text are left out. Those, repeated and contradictory
    pairs and pairs of equal responses are counted in the notes, and in one warning.

    Args:
        source: a JSONL or Parquet file (.gz too), a ``datasets.Dataset``, a list of dictionaries,
            or `PreferenceData`, which is returned as it is.
        kind: one of `KINDS`; by the names of the columns when None.
        fields: where columns are called otherwise: ``{"prompt": "question"}``; ``"errors.0"``
            looks inside, ``"instruction+input"`` joins texts by an empty line, and
            ``{"prompt": ""}`` means that texts were judged without a prompt.
        option: how the caller named the data, for error messages.

    Raises:
        ValueError: if it cannot be read, a column is missing, or a row cannot be used; rows count
            from 1, and in JSONL are the lines.
    """
    if isinstance(source, PreferenceData):
        return source
    if kind is not None:
        check_choice("kind", kind, KINDS)
    rows = list(_rows(source, option))
    if not rows:
        raise ValueError(f"{option} must hold at least one row, got none from {_name(source)}")
    form = _format(rows, kind, fields or {}, option)
    records, found = _read(rows, form, fields or {}, option)
    _find_odd_pairs(records, found)
    notes = tuple(_note(what, numbers, len(rows)) for what, numbers in found.items())
    if notes:
        warnings.warn(f"{option}: {'; '.join(notes)}", stacklevel=2)
    return PreferenceData(
        records=tuple(record for _, record in records), kind=form.kind, notes=notes
    )


def _read(
    rows: Sequence[tuple[int, Row]], form: RowFormat, fields: Mapping[str, str], option: str
) -> tuple[list[tuple[int, Record]], dict[str, list[int]]]:
    """Return the records with the numbers of their rows, and the irregular rows."""
    records: list[tuple[int, Record]] = []
    found: dict[str, list[int]] = defaultdict(list)
    for number, row in rows:
        try:
            made = form.records(_renamed(row, fields, form))
            if _is_scored_against(row):
                found[_SCORED_AGAINST].append(number)
        except UnusableResponse:
            found[_UNUSABLE].append(number)
        except ValueError as error:
            raise ValueError(f"{option}: row {number}: {error}") from error
        else:
            records += [(number, record) for record in made]
    return records, found


def _rows(source: Any, option: str) -> Iterator[tuple[int, Row]]:
    """Yield each row with its number."""
    if isinstance(source, str | Path):
        rows = _file_rows(Path(source), option)
    elif isinstance(source, Iterable) and not isinstance(source, Mapping):
        rows = enumerate(source, start=1)
    else:
        raise ValueError(f"{option} must be a file, a data set or a list of rows, got {source!r}")
    for number, row in rows:
        if not isinstance(row, Mapping):
            raise ValueError(f"{option}: row {number} must be an object, got {row!r:.60}")
        yield number, row


def _file_rows(path: Path, option: str) -> Iterator[tuple[int, Any]]:
    if not path.is_file():
        what = "a folder" if path.is_dir() else "no file"
        raise ValueError(f"{option} must be an existing file, got {str(path)!r}, which is {what}")
    if file_kind(path) not in ROW_KINDS:
        raise ValueError(f"{option} must be a {_FORMATS} file, got {str(path)!r}")
    return read_rows(path, option)


def _format(
    rows: Sequence[tuple[int, Row]], kind: str | None, fields: Mapping[str, str], option: str
) -> RowFormat:
    """Return the form that the columns have."""
    _, first = rows[0]
    available = set(first) | set(fields)
    candidates = [form for form in FORMATS if kind in (None, form.kind)]
    form = next((form for form in candidates if set(form.columns) <= available), None)
    if form is None:
        expected = " or ".join("/".join(form.columns) for form in candidates)
        raise ValueError(
            f"{option} must have the columns {expected}, got {sorted(first)}; say with fields "
            "which column is which"
        )
    if form.has_prompt and "prompt" not in available:
        raise ValueError(
            f"{option} must have a column 'prompt', got {sorted(first)}; name it with fields, or "
            "leave the name empty where texts were judged by themselves"
        )
    return form


def _renamed(row: Row, fields: Mapping[str, str], form: RowFormat) -> Row:
    """Return a row with the columns that its form asks for."""
    renamed = dict(row) | {name: _joined(row, spelled) for name, spelled in fields.items()}
    needed = (*form.columns, "prompt") if form.has_prompt else form.columns
    for name in needed:
        if renamed.get(name) is None:
            raise ValueError(f"there is no {name!r}, got the columns {sorted(row)}")
    return renamed


def _joined(row: Row, spelled: str) -> Any:
    """Return the value of a column, of a path into one, or of several joined by "+"."""
    if not spelled:
        return ""
    if spelled in row:
        return row[spelled]
    parts = [_inside(row, path) for path in spelled.split("+")]
    if len(parts) == 1:
        return parts[0]
    return "\n\n".join(str(part).strip() for part in parts if part not in (None, ""))


def _inside(row: Row, path: str) -> Any:
    value: Any = row
    for key in path.split("."):
        try:
            value = value[int(key)] if isinstance(value, list) else value[key]
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise ValueError(f"there is no {path!r}, got the columns {sorted(row)}") from error
    return value


def _is_scored_against(row: Row) -> bool:
    """Return whether the score columns contradict the preference."""
    if "chosen_score" not in row or "rejected_score" not in row:
        return False
    for name in ("chosen_score", "rejected_score"):
        check_finite(name, row[name])
    return row["chosen_score"] < row["rejected_score"]


def _find_odd_pairs(records: Sequence[tuple[int, Record]], found: dict[str, list[int]]) -> None:
    """Note the rows with equal sides, and those that repeat or contradict earlier ones."""
    seen: set[tuple[str, str, str]] = set()
    for number, record in records:
        for pair in PreferenceData(records=(record,), kind="").pairs:
            key = (prompt_text(pair.prompt), pair.chosen, pair.rejected)
            if pair.is_identical:
                found[_IDENTICAL].append(number)
            elif key in seen:
                found[_REPEATED].append(number)
            elif (key[0], key[2], key[1]) in seen and pair.is_decided:
                found[_CONTRADICTORY].append(number)
            seen.add(key)


def _note(what: str, numbers: Sequence[int], total: int) -> str:
    distinct = sorted(set(numbers))
    listed = ", ".join(map(str, distinct[:5])) + (", ..." if len(distinct) > 5 else "")
    plural = "row" if len(distinct) == 1 else "rows"
    return f"{len(distinct)} of {total} rows {what} ({plural} {listed})"


def _name(source: Any) -> str:
    return repr(str(source)) if isinstance(source, str | Path) else type(source).__name__
