"""One run per folder: a second one that wants to write there is refused."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def sole_writer(log_dir: str | Path | None) -> Iterator[None]:
    """Make a run's folder if it is not there, and hold it while the run writes.

    The folder itself is locked, so nothing is left behind, not even by a killed process.

    Args:
        log_dir: the folder; None holds nothing.

    Raises:
        ValueError: if it is a file, cannot be written, or another run is writing there.
    """
    if log_dir is None:
        yield
        return
    folder = Path(log_dir)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"log_dir must be a folder or new, got the file {str(folder)!r}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ValueError(
            f"log_dir must be a folder that can be written, got {str(folder)!r}: "
            f"{error.strerror}; choose another"
        ) from error
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(
                f"log_dir {str(folder)!r} is being written by another run; "
                "choose another folder, or wait until that run has ended"
            ) from error
        yield
    finally:
        os.close(handle)
