"""Files that are either whole or not there, and their digests."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import secrets
from pathlib import Path
from typing import Any

_PARTIAL = ".partial"
_IS_PARTIAL = re.compile(rf"\..+\.[0-9a-f]{{16}}{re.escape(_PARTIAL)}", re.DOTALL)


def write_atomically(
    path: Path, content: bytes, mode: int = 0o666, *, survives_power_cut: bool = True
) -> None:
    """Replace a file in one step: readers see the old content or the new, never a part.

    Args:
        path: in an existing folder.
        content: what the file is to hold.
        mode: its permissions, of which the umask takes some.
        survives_power_cut: whether to wait until the disk has it, which takes some milliseconds;
            otherwise a power cut within the next seconds may leave the new file empty.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}{_PARTIAL}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            if survives_power_cut:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if survives_power_cut:
        sync_folder(path.parent)


def remove_partial_files(folder: Path) -> None:
    """Remove what killed processes left of `write_atomically`; no other may be writing there."""
    for partial in folder.glob(f".*{_PARTIAL}"):
        if _IS_PARTIAL.fullmatch(partial.name) and partial.is_file():
            partial.unlink()


def read_json(path: Path) -> Any:
    """Return what a JSON file holds.

    Raises:
        OSError: if it cannot be read, or is a pipe or a device, which could be waited for for ever.
        ValueError: if it is not JSON, or nested too deeply.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return parse_json(path.read_text(encoding="utf-8"))


def parse_json(text: str | bytes) -> Any:
    """Return what a JSON text stands for.

    Raises:
        ValueError: if it is not JSON, or nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
