"""The folder of an ablation: its files, and which grid it belongs to.

settings.json        the grid; a folder holds one grid only
runs/<run_id>.json   one finished or failed run, written as a whole
results.csv          one row per run
curves.csv           one row per run and update
frontier.csv         what exactly optimal policies reach, where that can be computed
samples.jsonl        example episodes
tensorboard/         the curves again, one folder per run
*.png, report.html   what `scripts/report.py` makes of the above
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from filelock import AcquireReturnProxy, FileLock, Timeout

from rlhf_env.files import remove_partial_files, write_atomically
from studies.experiment.axes import Axes
from studies.experiment.grid import NEWER, Budget, task_budgets
from studies.results.folder import (
    ABLATE,
    RECORDS,
    SETTINGS,
    check_command,
    read_settings,
    shown,
    why_not,
)

# Of settings.json and the records; raised when an older version could not continue from them.
FORMAT = 2
OWNER = ".pid"


def grid_settings(axes: Axes, budget: Budget, digests: Mapping[str, str]) -> dict[str, Any]:
    """Return what makes a grid this grid, as plain values.

    Args:
        axes: what is varied.
        budget: what is the same for every run.
        digests: SHA-256 of each file that a task is made of, by option.
    """
    fields = {**dataclasses.asdict(axes), **dataclasses.asdict(budget)}
    del fields["model"], fields["own"], fields["family_options"]
    # Grids of other tasks have none of these, as in earlier versions.
    for name in ("horizon", *NEWER):
        if not getattr(axes, name):
            del fields[name]
    budgets = task_budgets(axes, budget)
    fields |= budgets[0].family_options.to_json()
    names = [one.task if one.model is None else one.model for one in budgets]
    fields |= {"format": FORMAT, "task": ", ".join(names)}
    fields |= {"max_new_tokens": budget.own.max_new_tokens}
    if axes.model:
        fields |= budget.own.to_json() | {"model": list(axes.model), "digests": dict(digests)}
    return json.loads(json.dumps(fields))


def claim(folder: Path, asked: dict[str, Any]) -> AcquireReturnProxy:
    """Make a folder this grid's own, and hold it until the returned lock is left.

    The same grid with fewer seeds is extended. Nothing is created or changed if the folder is
    refused.

    Args:
        folder: where the results are to go.
        asked: the grid's settings.

    Raises:
        ValueError: if it cannot be made or written, holds another grid, other files or damaged
            ones, or is in use.
    """
    try:
        _check_place(folder)
        _check_contents(folder, asked)
        folder.mkdir(parents=True, exist_ok=True)
        lock = _lock(folder)
        for place in (folder, folder / RECORDS):
            remove_partial_files(place)
        # Another ablation may have started and ended since the first check.
        if _check_contents(folder, asked) != asked:
            write_atomically(folder / SETTINGS, f"{json.dumps(asked, indent=2)}\n".encode())
    except OSError as error:
        raise ValueError(
            f"out must be a folder that can be made and written, got {shown(folder)}: "
            f"{why_not(error)}; name another"
        ) from error
    return lock


def _check_place(folder: Path) -> None:
    if "\0" in str(folder):
        raise ValueError("out must be the path of a folder, got one with a null character in it")
    for path in (folder, *folder.parents):
        if path.is_symlink() and not path.exists():
            raise ValueError(
                f"out must be a folder, got {shown(folder)}, where {path} is a link to "
                f"{path.readlink()}, which does not exist; name another"
            )
        if path.exists() and not path.is_dir():
            got = "the file" if path == folder else f"{shown(folder)} inside the file"
            raise ValueError(f"out must be a folder, got {got} {path}; name another")


def _check_contents(folder: Path, asked: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that a folder holds, none if it is empty or missing."""
    saved = read_settings(folder)
    visible = [path for path in folder.glob("*") if not path.name.startswith(".")]
    if visible and not saved:
        raise ValueError(
            f"out must be empty or hold this grid, got {folder} with {visible[0].name} in it; "
            "name another"
        )
    check_command("out", folder, saved, ABLATE)
    if saved:
        _check_same(folder, saved, asked)
    records = folder / RECORDS
    if records.exists() and not records.is_dir():
        raise ValueError(
            f"{records} must be the folder of the finished runs, got a file; move it away"
        )
    return saved


def _check_same(folder: Path, saved: dict[str, Any], asked: dict[str, Any]) -> None:
    if (written := saved.get("format")) != asked["format"]:
        raise ValueError(
            f"out must be of format {asked['format']}, got {folder} of format {written}, which "
            "another version of this command wrote; go on with that one or name another folder"
        )
    for name in {**asked, **saved}:
        there, here = saved.get(name), asked.get(name)
        if name == "seeds" and isinstance(there, int) and there < asked[name]:
            continue
        if name not in asked or name not in saved or there != here:
            only = " (only more seeds can be added)" if name == "seeds" else ""
            raise ValueError(
                f"out must hold this grid, got {folder} with another: {name} is {there} there and "
                f"{here} here{only}; name another folder"
            )


def _lock(folder: Path) -> AcquireReturnProxy:
    try:
        lock = FileLock(folder / ".lock").acquire(timeout=0)
    except Timeout:
        pid = _owner(folder)
        raise ValueError(
            f"out must not be in use, got {folder} where another ablation is running{pid}; "
            "wait for it"
        ) from None
    (folder / OWNER).write_text(str(os.getpid()), encoding="utf-8")
    return lock


def _owner(folder: Path) -> str:
    try:
        return f" (process {int((folder / OWNER).read_text(encoding='utf-8'))})"
    except (OSError, ValueError):
        return ""
