"""The folder that an evaluation or a comparison is written into."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rlhf_env.files import write_atomically
from rlhf_env.statistics import Estimate
from studies.results.folder import SAMPLES
from studies.results.run_folder import check_writable

EVALUATION = "evaluation.json"
COMPARISON = "comparison.json"
PAGE = "comparison.html"
PAIRS = "pairs.jsonl"


def check_out(folder: Path, results: str) -> None:
    """Refuse a folder that cannot be written, or holds anything but earlier such results.

    Args:
        folder: where the results are to go; nothing is made or changed.
        results: the file that such a folder holds, ``evaluation.json`` or ``comparison.json``.

    Raises:
        ValueError: if it is refused.
    """
    check_writable(folder)
    known = {results, SAMPLES} | ({PAGE, PAIRS} if results == COMPARISON else set())
    visible = (path.name for path in folder.glob("*") if not path.name.startswith("."))
    foreign = sorted(name for name in visible if name not in known)
    if foreign:
        raise ValueError(
            f"--out must be new, empty or hold such results, got {str(folder)!r} with "
            f"{foreign[0]} in it; name another folder"
        )


def write_json(path: Path, fields: Mapping[str, Any]) -> None:
    """Write a JSON file as a whole; estimates become ``{"value", "low", "high", "count"}``."""
    content = json.dumps(fields, indent=2, allow_nan=False, ensure_ascii=False, default=_plain)
    write_atomically(path, f"{content}\n".encode())


def _plain(value: object) -> Any:
    if isinstance(value, Estimate):
        return vars(value)
    raise TypeError(f"{type(value).__name__} is not JSON serializable")
