"""A checkpoint's folder: it gets its name when all of it is on disk, and replaces only its like."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from agents.training.checkpoints.checkpoint_files import FILES, MANIFEST, NOTES, REPLAY_FILE
from rlhf_env.files import sync_folder


def check_replaceable(path: Path) -> None:
    """Refuse to replace what is not a checkpoint: it would be lost.

    Raises:
        ValueError: if something else has that name.
    """
    if path.is_symlink():
        raise ValueError(
            f"path must be a folder or new, got the symbolic link {str(path)!r}; give the folder "
            "that it points to"
        )
    if path.is_dir():
        foreign = {entry.name for entry in path.iterdir()} - {*FILES, *NOTES, MANIFEST, REPLAY_FILE}
        if not foreign:
            return
        raise ValueError(
            f"path must be new or hold a checkpoint, got {str(path)!r}, which also holds "
            f"{min(foreign)!r}; choose a folder of its own"
        )
    if path.exists():
        raise ValueError(f"path must be a folder or new, got the file {str(path)!r}")


def write_folder(path: Path, write: Callable[[Path], None]) -> None:
    """Let a function fill a new folder, and then put it in the place of one that is there.

    Args:
        path: its name in the end.
        write: fills the folder that it is given, and waits until all is on disk.

    Raises:
        ValueError: if no folder can be made there.
    """
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    _make_empty(partial, path)
    try:
        write(partial)
    except BaseException:
        # On a full disk, what was written is in the way.
        shutil.rmtree(partial, ignore_errors=True)
        raise
    former = _former(path)
    if path.exists():
        shutil.rmtree(former, ignore_errors=True)
        path.rename(former)
    partial.rename(path)
    sync_folder(path.parent)
    shutil.rmtree(former, ignore_errors=True)


def bring_back(path: Path) -> None:
    """Give a folder its name back after a save that was killed.

    That is one killed just between taking the old folder away and putting the new one there.
    """
    if not path.exists() and _former(path).exists():
        _former(path).rename(path)


def _make_empty(partial: Path, path: Path) -> None:
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
    except OSError as error:
        raise ValueError(
            f"path must be a folder that can be made, got {str(path)!r}: {error.strerror}: "
            f"{partial.name!r}; choose another"
        ) from error


def _former(path: Path) -> Path:
    return path.with_name(f".{path.name}.former")
