"""Reading text, JSON lines and Parquet, optionally with .gz; every error names the file."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rlhf_env.extras import importing
from rlhf_env.files import parse_json
from rlhf_env.limits import memory_limit

ROW_KINDS = (".jsonl", ".json", ".parquet")

MAX_UNPACKED = 1 << 30
"""Bytes that a compressed file may unpack to, the decoded columns of a Parquet file included.

A few kilobytes of gzip or of a Parquet dictionary can stand for gigabytes.
"""


class MissingColumnError(ValueError):
    """No row has the field that was asked for, by this name."""


def file_kind(path: Path) -> str:
    """Return the suffix that tells what a file holds, without ".gz"; "" if there is none."""
    suffixes = [suffix for suffix in path.suffixes if suffix != ".gz"]
    return suffixes[-1] if suffixes else ""


def read_text(path: Path, option: str) -> str:
    """Return the content of a text file.

    Args:
        path: an existing file.
        option: how the caller named it, for error messages.

    Raises:
        ValueError: if it cannot be read as UTF-8 text.
    """
    try:
        with io.TextIOWrapper(io.BytesIO(unpacked(path, option)), encoding="utf-8-sig") as text:
            return text.read()
    except UnicodeDecodeError as error:
        raise ValueError(f"{option}: cannot read {str(path)!r} as UTF-8 text: {error}") from error


def read_rows(path: Path, option: str) -> Iterator[tuple[int, Any]]:
    """Yield each row of a file of one of `ROW_KINDS`, with its number from 1.

    In JSON the number is that of the line; empty lines are left out. Rows are returned as parsed,
    not always dictionaries.

    Args:
        path: an existing file.
        option: how the caller named it, for error messages.

    Raises:
        ValueError: if the file, or a line of it, cannot be read.
    """
    if file_kind(path) == ".parquet":
        yield from enumerate(_parquet_rows(path, option), start=1)
        return
    for number, line in enumerate(read_text(path, option).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = parse_json(line)
        except ValueError as error:
            reason = getattr(error, "msg", error)
            raise ValueError(
                f"{option}: line {number} of {str(path)!r} is not JSON: {reason}"
            ) from error
        yield number, row


def read_objects(path: Path, option: str) -> list[dict[str, Any]]:
    """Return the rows of a file, every one of which must have named fields.

    Raises:
        ValueError: as `read_rows` does, or if a row is not an object.
    """
    rows = []
    for number, row in read_rows(path, option):
        if not isinstance(row, dict):
            raise ValueError(
                f"{option}: line {number} of {str(path)!r} must be a JSON object, got {row!r:.60}"
            )
        rows.append(row)
    return rows


def column_of(
    rows: Sequence[Mapping[str, Any]], names: Sequence[str], option: str, where: str
) -> list[Any]:
    """Return one field of all rows, that of `column_name`."""
    name = column_name(rows, names, option, where)
    return [row[name] for row in rows]


def column_name(
    rows: Sequence[Mapping[str, Any]], names: Sequence[str], option: str, where: str
) -> str:
    """Return the name of a field that all rows have.

    Args:
        rows: at least one.
        names: of the field; the first that any row has is taken.
        option: how the caller named the source, for error messages.
        where: what error messages call the source.

    Raises:
        MissingColumnError: if no row has such a field.
        ValueError: if there is no row, or a row without the field.
    """
    if not rows:
        raise ValueError(f"{option}: {where} must hold at least one row, got none")
    available = sorted(set().union(*rows))
    name = next((name for name in names if name in available), None)
    if name is None:
        raise MissingColumnError(
            f"{option}: {where} must have a column {' or '.join(map(repr, names))}, got {available}"
        )
    missing = next((number for number, row in enumerate(rows, 1) if name not in row), None)
    if missing:
        raise ValueError(f"{option}: row {missing} of {where} has no {name!r}")
    return name


def _parquet_rows(path: Path, option: str) -> list[dict[str, Any]]:
    with importing("rewards"):
        from pyarrow import parquet

    content = io.BytesIO(unpacked(path, option))
    rows: list[dict[str, Any]] = []
    size = 0
    try:
        # Of few rows at a time, so that the size is known before much is decoded.
        batches = parquet.ParquetFile(content).iter_batches(batch_size=256, use_threads=False)
        with memory_limit(4 * MAX_UNPACKED):
            for batch in batches:
                size += batch.nbytes
                if size > MAX_UNPACKED:
                    raise MemoryError
                rows += batch.to_pylist()
    except MemoryError as error:
        raise _too_large(path, option) from error
    except Exception as error:
        # For a damaged file Arrow raises almost any kind of error.
        reason = " ".join(str(error).split())[:120]
        raise ValueError(f"{option}: cannot read {str(path)!r} as Parquet: {reason}") from error
    return rows


def unpacked(path: Path, option: str) -> bytes:
    """Return the content of a file, unpacked if its name ends in ".gz".

    Raises:
        ValueError: if it cannot be read, or unpacks to more than `MAX_UNPACKED`.
    """
    try:
        if path.suffix != ".gz":
            return path.read_bytes()
        with gzip.open(path, "rb") as file:
            content = file.read(MAX_UNPACKED + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{option}: cannot read {str(path)!r}: {error}") from error
    if len(content) > MAX_UNPACKED:
        raise _too_large(path, option)
    return content


def _too_large(path: Path, option: str) -> ValueError:
    return ValueError(
        f"{option}: {str(path)!r} must unpack to at most {MAX_UNPACKED} bytes, got more; if that "
        "is meant, split the file, or raise rlhf_env.text.rows.MAX_UNPACKED"
    )
