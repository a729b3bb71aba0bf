"""The files of a checkpoint: their names, their checksums, and tensors in them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from rlhf_env.files import read_json, sha256, write_atomically

FORMAT = 1
MANIFEST = "manifest.json"
FILES = ("optimizer.safetensors", "policy.safetensors", "state.json")
"""What a checkpoint of this package's agents holds."""
REPLAY_FILE = "replay.safetensors"
"""The buffer of old episodes, in checkpoints of agents that have one."""
NOTES = ("README.md", "config.json")
"""What tells people and other libraries what the folder is; restoring does not need it."""


def write_manifest(folder: Path, names: Iterable[str] = FILES, agent: str | None = None) -> None:
    """Write the manifest of a folder whose files are complete.

    Args:
        folder: a checkpoint.
        names: its files.
        agent: the class of an agent with a format of its own; None for this package's format.
    """
    own = {} if agent is None else {"agent": agent}
    manifest = {"format": FORMAT, **own, "files": {name: sha256(folder / name) for name in names}}
    write_atomically(folder / MANIFEST, json.dumps(manifest, indent=1).encode())


def files_in(folder: Path) -> list[str]:
    """Return the regular files under a folder, by relative path, less the manifest."""
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(path.as_posix() for path in found if path.as_posix() != MANIFEST)


def find_corruption(path: Path) -> str | None:
    """Return what is wrong with a checkpoint, or None if it is complete and unchanged."""
    try:
        manifest = read_json(path / MANIFEST)
        written, digests = manifest["format"], dict(manifest["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return f"{MANIFEST} is missing or unreadable"
    if written != FORMAT:
        return f"its format is {written!r}, this version reads {FORMAT}"
    if "agent" not in manifest and set(digests) - {REPLAY_FILE} != set(FILES):
        return f"{MANIFEST} must name {list(FILES)}, got {sorted(digests)}"
    there = files_in(path)
    for name, digest in digests.items():
        # Names come from the folder: a file elsewhere is not read.
        if name not in there:
            return f"{name} is missing"
        if sha256(path / name) != digest:
            return f"the checksum of {name} differs"
    return None


def save_tensors(
    tensors: dict[str, Tensor], path: Path, metadata: dict[str, str] | None = None
) -> None:
    """Write a safetensors file.

    Raises:
        OSError: if it cannot be written; safetensors has an error of its own for that.
    """
    try:
        save_file(tensors, path, metadata=metadata)
    except SafetensorError as error:
        raise OSError(f"cannot write {str(path)!r}: {error}") from error


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file.

    Raises:
        ValueError: if it is damaged or missing.
    """
    try:
        return load_file(path)
    except (FileNotFoundError, SafetensorError) as error:
        raise unreadable(path) from error


def unreadable(path: Path) -> ValueError:
    """Return the error for a file of a checkpoint that cannot be read."""
    return ValueError(
        f"checkpoint {str(path.parent)!r} is damaged: {path.name} is unreadable; use an earlier one"
    )


def sync(path: Path) -> None:
    """Wait until a file's content is on disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
