"""The header of a reward model's folder, with checksums of itself and of every other file."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from rlhf_env.files import read_json, sync_folder

HEADER = "reward.json"
_CHECKSUMS = "sha256"


def write_header(folder: Path, header: dict[str, Any]) -> None:
    """Write the header of a folder whose other files are complete."""
    sums = {path.name: _file_sum(path) for path in sorted(folder.iterdir()) if path.is_file()}
    sums[HEADER] = _header_sum(header)
    text = json.dumps({**header, _CHECKSUMS: sums}, indent=2) + "\n"
    (folder / HEADER).write_text(text, encoding="utf-8")


def read_header(folder: Path) -> dict[str, Any]:
    """Return the header of a folder whose files are as they were written.

    A folder written before there were checksums is read without them.

    Raises:
        OSError: if a file cannot be read.
        ValueError: if a file has changed, or the header is not a JSON object.
    """
    header = read_json(folder / HEADER)
    if not isinstance(header, dict):
        raise ValueError(f"{HEADER} must hold an object, got {type(header).__name__}")
    sums = header.pop(_CHECKSUMS, None)
    if sums is None:
        return header
    if not isinstance(sums, dict):
        raise ValueError(f"{_CHECKSUMS} must be an object, got {type(sums).__name__}")
    for name, expected in sums.items():
        found = _header_sum(header) if name == HEADER else _file_sum(folder / Path(name).name)
        if found != expected:
            raise ValueError(f"{name} has changed since it was written: its checksum differs")
    return header


def sync_tree(folder: Path) -> None:
    """Make all files below a folder survive a power cut."""
    for path in (*folder.rglob("*"), folder):
        if path.is_dir():
            sync_folder(path)
            continue
        with path.open("rb") as file:
            os.fsync(file.fileno())


def _file_sum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _header_sum(header: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(header, sort_keys=True).encode()).hexdigest()
