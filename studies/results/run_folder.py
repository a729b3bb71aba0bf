"""The folder of a training run: its files, and which run it belongs to.

::

settings.json       the settings; a folder holds one run only
evaluation.json     the metrics of the policy before and after training
samples.jsonl       responses before and after training, as `scripts/report.py` reads them
reward.safetensors  the reward, where it was learned from ratings
metrics.jsonl       one line per update; TensorBoard's files beside it
checkpoints/        the last two, as `agents` writes them
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from filelock import AcquireReturnProxy, FileLock, Timeout

from rlhf_env.files import read_json, remove_partial_files, write_atomically
from studies.results.folder import SAMPLES, SETTINGS, check_command, read_settings
from studies.results.json_values import finite_or_null

EVALUATION = "evaluation.json"
REWARD = "reward.safetensors"
# Where the command was typed is what its relative paths begin at.
WORKING_FOLDER = "working_folder"
# These change how long a run is and what is shown of it, not what it learns.
FREE = ("episodes", "eval_episodes", "samples", "device", WORKING_FOLDER)


def check_folder(folder: Path, asked: Mapping[str, object], command: str) -> None:
    """Refuse a folder that holds something else; nothing is made or changed.

    Args:
        folder: where the results are to go.
        asked: the settings as plain values.
        command: the one that is asked to write.

    Raises:
        ValueError: if it is a file, or holds another run, that of another command, or other files.
    """
    _check_place(folder)
    saved = read_settings(folder)
    visible = [path for path in folder.glob("*") if not path.name.startswith(".")]
    if visible and not saved:
        raise ValueError(
            f"--out must be empty or hold this run, got {str(folder)!r} with {visible[0].name} "
            "in it; name another folder"
        )
    check_command("--out", folder, saved, command)
    # Of no effect under other densities, and its default was another in earlier versions.
    free = FREE if asked.get("density") == "every_k" else (*FREE, "every_k")
    for name in {**asked, **saved} if saved else ():
        if name not in free and saved.get(name) != asked.get(name):
            raise ValueError(
                f"--out must hold this run, got {str(folder)!r} with another: {name} is "
                f"{saved.get(name)} there and {asked.get(name)} here; name another folder"
            )


def check_writable(folder: Path) -> None:
    """Refuse a place where no folder can be made or written; nothing is made or changed.

    Raises:
        ValueError: with the reason.
    """
    nearest = _check_place(folder)
    try:
        # Permissions do not reveal file systems that accept no files, so one is tried.
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        raise _unusable(folder, error) from error


def _check_place(folder: Path) -> Path:
    """Return the nearest folder that exists, if nothing but folders is on the way."""
    paths = (folder, *folder.absolute().parents)
    got = f"got {str(folder)!r}"
    try:
        for path in paths:
            if path.is_symlink() and not path.exists():
                raise ValueError(
                    f"--out must be a folder, {got}, where {path} is a broken link; "
                    "remove the link or name another folder"
                )
        nearest = next(path for path in paths if path.exists())
        if not nearest.is_dir():
            raise ValueError(f"--out must be a folder, {got}, where {nearest} is a file")
    except OSError as error:
        raise _unusable(folder, error) from error
    return nearest


def _unusable(folder: Path, error: OSError) -> ValueError:
    return ValueError(
        f"--out must be writable, got {str(folder)!r}: {error.strerror}; name another folder"
    )


def claim(folder: Path, asked: Mapping[str, object]) -> AcquireReturnProxy:
    """Make a checked folder this run's own, and hold it until the returned lock is left.

    Raises:
        ValueError: if another process holds it.
        OSError: if it cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        lock = FileLock(folder / ".lock").acquire(timeout=0)
    except Timeout:
        raise ValueError(
            f"--out must not be in use, got {str(folder)!r} where another run is using it; "
            "wait for it or name another folder"
        ) from None
    remove_partial_files(folder)
    fields = {**asked, WORKING_FOLDER: str(Path.cwd())}
    write_atomically(folder / SETTINGS, (json.dumps(fields, indent=2) + "\n").encode())
    return lock


def read_finished(folder: Path, episodes: int) -> dict[str, Any] | None:
    """Return the evaluation of a run that has seen these many episodes; None if there is none."""
    try:
        found = read_json(folder / EVALUATION)
        return found if found["episodes"] >= episodes else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_evaluation(folder: Path, evaluation: Mapping[str, Any]) -> None:
    """Write ``evaluation.json`` as a whole; a number that is not finite becomes null."""
    content = json.dumps(finite_or_null(evaluation), indent=2) + "\n"
    write_atomically(folder / EVALUATION, content.encode())


def write_samples(folder: Path, episodes: Sequence[Mapping[str, Any]]) -> None:
    """Write ``samples.jsonl`` as a whole, one episode per line."""
    lines = [json.dumps(finite_or_null(episode)) + "\n" for episode in episodes]
    write_atomically(folder / SAMPLES, "".join(lines).encode())
