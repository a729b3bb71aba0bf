"""The folder of an ablation: what is in it, and whose it is.

settings.json        the grid; a folder holds one grid only
runs/<run_id>.json   one finished or failed run, written as a whole
results.csv          one row per run
curves.csv           one row per run and update
frontier.csv         what exactly optimal policies reach, where that can be computed
samples.jsonl        example episodes
*.png, report.html   what `scripts/report.py` makes of the above
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from filelock import AcquireReturnProxy, FileLock, Timeout

from rlhf_env.files import write_atomically
from scripts.ablation.grid import Axes, Budget

SETTINGS = "settings.json"
RECORDS = "runs"
RESULTS = "results.csv"
CURVES = "curves.csv"
FRONTIER = "frontier.csv"
SAMPLES = "samples.jsonl"
REPORT = "report.html"


def claim(folder: Path, axes: Axes, budget: Budget) -> AcquireReturnProxy:
    """Make a folder this grid's own, and hold it until the returned lock is left.

    Nothing is made or changed where it is refused.

    Raises:
        ValueError: if it is a file, holds another grid or other files, or is in use.
        OSError: if it cannot be written.
    """
    asked = json.loads(json.dumps({**dataclasses.asdict(axes), **dataclasses.asdict(budget)}))
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"out must be a folder, got the file {folder}; name another")
    saved = read_settings(folder)
    visible = [path for path in folder.glob("*") if not path.name.startswith(".")]
    if visible and not saved:
        raise ValueError(
            f"out must be empty or hold this grid, got {folder} with {visible[0].name} in it; "
            "name another"
        )
    if saved:
        _check_same(folder, saved, asked)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        lock = FileLock(folder / ".lock").acquire(timeout=0)
    except Timeout:
        raise ValueError(
            f"out must not be in use, got {folder} where another ablation is running; wait for it"
        ) from None
    if not saved:
        write_atomically(folder / SETTINGS, f"{json.dumps(asked, indent=2)}\n".encode())
    return lock


def read_settings(folder: Path) -> dict[str, Any]:
    """Return ``settings.json``; empty if there is none.

    Raises:
        ValueError: if the file holds something else.
    """
    path = folder / SETTINGS
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise ValueError(f"{path} must hold a JSON object, got: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path} must hold a JSON object, got a {type(found).__name__}")
    return found


def _check_same(folder: Path, saved: dict[str, Any], asked: dict[str, Any]) -> None:
    for name in {**asked, **saved}:
        if name not in asked or name not in saved or asked[name] != saved[name]:
            raise ValueError(
                f"out must hold this grid, got {folder} with another: {name} is "
                f"{saved.get(name)} there and {asked.get(name)} here; name another folder"
            )
