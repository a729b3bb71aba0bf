"""Ctrl-C that waits for the end of an update, so that what was learned can be saved."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from agents.processes.group import count


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Defer the first Ctrl-C or SIGTERM; a second one interrupts at once, if there is one process.

    Outside the main thread, where Python delivers no signals, nothing is deferred.

    Yields:
        A function that returns whether a signal has been deferred.
    """
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return

    def hold(number: int, frame: FrameType | None) -> None:
        received.append(number)
        # A launcher hands a signal on more than once, and ends what takes too long itself.
        if len(received) > 1 and count() == 1:
            raise KeyboardInterrupt

    heeded = [
        number
        for number in (signal.SIGINT, signal.SIGTERM)
        if signal.getsignal(number) is not signal.SIG_IGN
    ]
    former = {number: signal.signal(number, hold) for number in heeded}
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
