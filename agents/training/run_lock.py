"""One run per folder: a second one that wants to write there is refused."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

# Not ".lock", which a command holds that trains in its own folder.
LOCK = ".run.lock"


@contextmanager
def run_lock(log_dir: str | Path | None) -> Iterator[None]:
    """Make a run's folder if it is not there, and hold it while the run writes.

    The system lets go of the lock when a process is killed; its empty file stays.

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
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ValueError(
            f"log_dir {str(folder)!r} is being written by another run; "
            "choose another folder, or wait until that run has ended"
        ) from None
    try:
        yield
    finally:
        lock.release()
