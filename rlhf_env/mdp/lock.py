"""A re-entrant lock that can be copied and pickled."""

from __future__ import annotations

import threading


class PicklableRLock:
    """A re-entrant lock that copies and pickles as a new, unlocked one.

    Environments hold it in ``reset`` and ``step``, so that threads that share one cannot leave
    half a step behind.
    """

    def __init__(self) -> None:
        """Make an unlocked lock."""
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        """Wait for other threads."""
        self._lock.acquire()

    def __exit__(self, *error: object) -> None:
        """Let the next thread in."""
        self._lock.release()

    def __reduce__(self) -> tuple[type[PicklableRLock], tuple[()]]:
        """Leave the state out of copies and pickles."""
        return PicklableRLock, ()
