"""Records of finished runs, one file each, and the tables made from all of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from rlhf_env.files import parse_json, write_atomically
from studies.experiment.grid import RunSettings
from studies.results.csv_files import write_csv
from studies.results.folder import CURVES, FRONTIER, RECORDS, RESULTS, SAMPLES, why_not
from studies.results.json_values import as_json

DIGEST = "sha256"


@dataclass(frozen=True, kw_only=True)
class Record:
    """What is kept of one run."""

    run: RunSettings
    """Its settings."""
    status: str
    """Either "ok" or "failed"."""
    error: str
    """One line; empty if it did not fail."""
    seconds: float
    """Wall-clock time."""
    command: str
    """What to type to run it alone."""
    row: dict[str, float]
    """The numbers of the evaluation after training."""
    curve: list[dict[str, float]]
    """The numbers of every update."""
    samples: list[dict[str, Any]]
    """Example episodes."""
    traceback: str
    """Where it failed."""

    def flat(self) -> dict[str, Any]:
        """Return the row of ``results.csv``."""
        fields = self.run.to_json()
        budget = fields.pop("budget") | {"every_k": self.run.every_k, "task": self.run.task_name}
        # The prompts and the reward are the same for all runs, and are in settings.json.
        del budget["own"], budget["model"]
        budget |= _of_family(self.run, budget.pop("family_options", {}))
        head = {"run_id": self.run.run_id, "status": self.status, "error": self.error}
        numbers = {name: value for name, value in self.row.items() if name not in head}
        return head | fields | budget | numbers | {"seconds": self.seconds, "command": self.command}


def _of_family(run: RunSettings, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns of a run on a family's task; none for other tasks."""
    if (parts := run.family_and_horizon) is None:
        return {}
    written = " ".join(options.get("task_options", []))
    return {
        "family": parts[0],
        "horizon": parts[1],
        "policy": options.get("policy"),
        "task_options": written or None,
    }


def write_record(folder: Path, record: Record) -> None:
    """Keep a run; from now on it is finished."""
    fields = {**vars(record), "run": record.run.to_json()}
    (folder / RECORDS).mkdir(exist_ok=True)
    path = folder / RECORDS / f"{record.run.run_id}.json"
    content = as_json(fields)
    signed = f'{{"{DIGEST}": "{_digest(content)}", {content.removeprefix("{")}\n'
    write_atomically(path, signed.encode())


def read_record(folder: Path, run: RunSettings) -> Record | None:
    """Return what is kept of a run; None if it is not finished, or its file was cut short.

    Raises:
        ValueError: if there is something else in its place, which is left alone.
    """
    path = folder / RECORDS / f"{run.run_id}.json"
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ValueError(_damaged(path, why_not(error))) from error
    try:
        fields = parse_json(text)
    except ValueError:
        return None
    try:
        digest = fields.pop(DIGEST)
        record = Record(**{**fields, "run": RunSettings.from_json(fields["run"])})
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(_damaged(path, f"fields that do not fit: {error}")) from error
    wrong = [name for name, is_right in FIELDS.items() if not is_right(getattr(record, name))]
    if wrong:
        got = f"{wrong[0]} = {str(getattr(record, wrong[0]))[:60]}"
        raise ValueError(_damaged(path, got))
    if digest != _digest(as_json(fields)):
        raise ValueError(_damaged(path, "another checksum than was written with it"))
    if record.run != run:
        raise ValueError(_damaged(path, f"that of {str(record.run.to_json())[:200]}"))
    return record


def write_results(folder: Path, records: list[Record]) -> None:
    """Replace ``results.csv``, one row per run."""
    write_csv(folder / RESULTS, pd.DataFrame([record.flat() for record in records]))


def write_curves(folder: Path, records: list[Record]) -> None:
    """Replace ``curves.csv`` and ``samples.jsonl``."""
    named = [(record.run.run_id, record) for record in records]
    rows = [{"run_id": name, **point} for name, record in named for point in record.curve]
    write_csv(folder / CURVES, pd.DataFrame(rows, columns=None if rows else ["run_id", "update"]))
    samples = [{"run_id": name, **sample} for name, record in named for sample in record.samples]
    if samples:
        lines = "".join(f"{as_json(sample)}\n" for sample in samples)
        write_atomically(folder / SAMPLES, lines.encode())


def write_frontier(folder: Path, points: list[dict[str, Any]]) -> None:
    """Replace ``frontier.csv``, what each task's exactly optimal policies reach at each KL."""
    if points:
        write_csv(folder / FRONTIER, pd.DataFrame(points))


def _damaged(path: Path, got: str) -> str:
    return (
        f"{path} must hold the record of that run, got {got}; remove it and the run is done again"
    )


def _is_number(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _are_numbers(value: object) -> bool:
    return isinstance(value, dict) and all(map(_is_number, value.values()))


def _are_objects(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(entry, dict) for entry in value)


# What each field of a record on the disk must be.
FIELDS: dict[str, Callable[[Any], bool]] = {
    "status": lambda value: value in ("ok", "failed"),
    "error": lambda value: isinstance(value, str),
    "seconds": _is_number,
    "command": lambda value: isinstance(value, str),
    "row": _are_numbers,
    "curve": lambda value: _are_objects(value) and all(map(_are_numbers, value)),
    "samples": _are_objects,
    "traceback": lambda value: isinstance(value, str),
}


def _digest(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()
