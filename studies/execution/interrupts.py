"""Ctrl-C and SIGTERM: one line and exit status 130, within two seconds, at any point.

Imports only the standard library, so that it is ready before everything else.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

STATUS = 130
SIGNALS = (signal.SIGINT, signal.SIGTERM)
# Grace period for updating the tables; what is finished is on the disk already.
GRACE_SECONDS = 1.0
# The final message of the command; a signal handler takes no arguments of ours.
_message = "interrupted"


def leave_on_signals(message: str) -> None:
    """Let Ctrl-C and SIGTERM end this process at once with one line, without a traceback.

    Args:
        message: the line; none if it is empty.
    """
    global _message
    _message = message
    for number in SIGNALS:
        # A shell starts background jobs with Ctrl-C ignored; that is kept.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _leave)


@contextmanager
def interruptions() -> Iterator[None]:
    """Raise KeyboardInterrupt inside, once, so that the tables can be written; then leave anyway.

    Signals that `leave_on_signals` has not taken over keep their handlers.
    """
    taken = [number for number in SIGNALS if signal.getsignal(number) is _leave]
    for number in taken:
        signal.signal(number, _interrupt)
    try:
        yield
    finally:
        for number in taken:
            if signal.getsignal(number) is _interrupt:
                signal.signal(number, _leave)


@contextmanager
def raising(is_wanted: bool = True) -> Iterator[None]:
    """Raise KeyboardInterrupt inside whenever a signal comes that `leave_on_signals` took over.

    Args:
        is_wanted: False changes nothing.
    """
    taken = [number for number in SIGNALS if signal.getsignal(number) is _leave]
    for number in taken if is_wanted else ():
        signal.signal(number, _raise)
    try:
        yield
    finally:
        for number in taken:
            if signal.getsignal(number) is _raise:
                signal.signal(number, _leave)


@contextmanager
def held() -> Iterator[None]:
    """Hold both signals back for a moment; a process started meanwhile never gets them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end(status: int) -> NoReturn:
    """End this process; after an interrupt without the clean-up that could take or wait."""
    if status != STATUS:
        # All is done: a late Ctrl-C must not turn success into failure while Python shuts down.
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        # Nothing is looked through for garbage any more, which takes torch's modules a second.
        gc.freeze()
        sys.exit(status)
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(STATUS)


def _interrupt(number: int, frame: FrameType | None) -> None:
    for other in SIGNALS:
        signal.signal(other, signal.SIG_IGN)
    watchdog = threading.Timer(GRACE_SECONDS, _leave, (number, None))
    watchdog.daemon = True
    watchdog.start()
    raise KeyboardInterrupt


def _raise(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    with contextlib.suppress(OSError):
        os.write(2, f"{_message}\n".encode() if _message else b"")
    os._exit(STATUS)
