"""The files of a checkpoint: their names, their checksums, and tensors in them."""

from __future__ import annotations

import os
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from rlhf_env.files import read_json, sha256

FORMAT = 1
MANIFEST = "manifest.json"
FILES = ("optimizer.safetensors", "policy.safetensors", "state.json")


def find_corruption(path: Path) -> str | None:
    """Return what is wrong with a checkpoint, or None if it is complete and unchanged."""
    try:
        manifest = read_json(path / MANIFEST)
        written, digests = manifest["format"], dict(manifest["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return f"{MANIFEST} is missing or unreadable"
    if written != FORMAT:
        return f"its format is {written!r}, this version reads {FORMAT}"
    if set(digests) != set(FILES):
        return f"{MANIFEST} must name {list(FILES)}, got {sorted(digests)}"
    for name in FILES:
        if not (path / name).is_file():
            return f"{name} is missing"
        if sha256(path / name) != digests[name]:
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
        ValueError: if it is damaged.
    """
    try:
        return load_file(path)
    except SafetensorError as error:
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
