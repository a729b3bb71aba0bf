"""The log of a run: ``metrics.jsonl`` and TensorBoard files."""

from __future__ import annotations

import json
import math
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from agents.training.events import PREFIX, EventWriter
from rlhf_env.files import parse_json, remove_partial_files, write_atomically

METRICS = "metrics.jsonl"
DAMAGED = "metrics.jsonl.damaged"


class RunLog:
    """Appends one line per update; without a folder it does nothing."""

    def __init__(self, log_dir: str | Path | None, resume_after: int = 0) -> None:
        """Open the log.

        Args:
            log_dir: the run's folder.
            resume_after: the update that the run continues from; later lines, and a torn last one,
                are dropped, so that no update appears twice.

        Raises:
            ValueError: if something other than a file has the log's name.
        """
        self._file = None
        self._board: Any = None
        self.rows: list[dict[str, Any]] = []
        if log_dir is None:
            return
        folder = Path(log_dir)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / METRICS
        remove_partial_files(folder)
        self.rows = _checked_rows(path, resume_after)
        write_atomically(path, "".join(f"{json.dumps(row)}\n" for row in self.rows).encode())
        self._file = path.open("a", encoding="utf-8")
        now = time.time()
        # Without a buffer, closing has nothing left to write that could fail again.
        self._events = (folder / f"{PREFIX}{time.time_ns()}").open("xb", buffering=0)
        self._board = EventWriter(self._events, now, first_step=resume_after + 1)

    def write(self, metrics: dict[str, float]) -> None:
        """Append an update's metrics; a number that is not finite is written as null."""
        if self._file is None:
            return
        finite = {k: v if math.isfinite(v) else None for k, v in metrics.items()}
        self._file.write(json.dumps(finite) + "\n")
        self._file.flush()
        values = {name: value for name, value in metrics.items() if name != "update"}
        self._board.write(int(metrics["update"]), values, time.time())

    def __enter__(self) -> Self:
        """Return the open log."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the files."""
        if self._file is not None:
            self._events.close()
            self._file.close()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a metrics file; a torn last line is left out.

    Raises:
        ValueError: if it is not a regular file, or a line that was written whole is damaged.
    """
    rows = list(_parsed(path))
    if None in rows:
        raise ValueError(
            f"line {rows.index(None) + 1} of {str(path)!r} is damaged, expected a JSON object with "
            '"update"; restore the file from a copy, or delete that line'
        )
    return [row for row in rows if row is not None]


def _checked_rows(path: Path, last: int) -> list[dict[str, Any]]:
    """Return the rows up to an update, and warn of damaged and missing ones.

    The old file is kept if some of its lines are left out.
    """
    found = list(_parsed(path))
    rows = {row["update"]: row for row in found if row is not None}
    if found and len(rows) < len(found):
        taken = len(list(path.parent.glob(f"{DAMAGED}*")))
        aside = path.with_name(f"{DAMAGED}-{taken + 1}" if taken else DAMAGED)
        path.replace(aside)
        warnings.warn(
            f"{len(found) - len(rows)} of {len(found)} lines of {str(path)!r} are damaged or "
            f"repeated and are left out; the file is kept as {str(aside)!r}",
            stacklevel=4,
        )
    kept = [rows[update] for update in sorted(rows) if update <= last]
    missing = sorted(set(range(1, last + 1)) - set(rows))
    if found and missing:
        warnings.warn(
            f"{str(path)!r} lacks {len(missing)} of the updates 1 to {last}, the first of them "
            f"{missing[0]}; the run continues without them",
            stacklevel=4,
        )
    return kept


def _parsed(path: Path) -> Iterator[dict[str, Any] | None]:
    """Yield each row of a metrics file, None for one that is damaged."""
    if not path.exists():
        return
    if not path.is_file():
        # Opening a named pipe would block until it has a writer.
        kind = "a folder" if path.is_dir() else "a special file"
        raise ValueError(
            f"{str(path)!r} must be a regular file, got {kind}; move it away, or choose another "
            "log_dir"
        )
    lines = path.read_bytes().split(b"\n")
    torn = lines.pop()
    for line in lines:
        yield _row(line)
    # A process that is killed while it writes leaves a line without its end.
    if (row := _row(torn)) is not None:
        yield row


def _row(line: bytes) -> dict[str, Any] | None:
    try:
        row = parse_json(line.decode("utf-8"))
    except ValueError:
        return None
    update = row.get("update") if isinstance(row, dict) else None
    if isinstance(update, bool) or not isinstance(update, int | float):
        return None
    return row if math.isfinite(update) and update == int(update) and update >= 1 else None
