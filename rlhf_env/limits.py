"""Limits on what one call may take: seconds and memory."""

from __future__ import annotations

import ctypes
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

Answer = TypeVar("Answer")

_memory_lock = threading.Lock()


class OutOfTimeError(TimeoutError):
    """A call was broken off by `call_within`."""


def call_within(seconds: float, function: Callable[..., Answer], *arguments: Any) -> Answer:
    """Return ``function(*arguments)``, or break it off after a number of seconds.

    On the main thread of a Unix system a timer signal breaks the call off: sleeping, waiting for
    the network, loops and regular expressions end at once, and only C code that never checks for
    signals is waited for. Elsewhere the call runs on its own thread: after the limit it is
    abandoned, and ends at its next Python instruction. It does not keep the program from ending;
    code in C that lets no other thread run is waited for.

    Args:
        seconds: above 0; the shorter of two limits around each other holds.
        function: whose errors are passed on.
        arguments: of the function.

    Raises:
        OutOfTimeError: after the limit.
    """
    call = _call_with_timer if _may_ring_within(seconds) else _call_on_thread
    expired = _Expired()
    try:
        return call(seconds, expired, function, *arguments)
    except _Expired as error:
        if error is not expired:
            # The limit of a call around this one.
            raise
        raise OutOfTimeError(f"no answer within {seconds:g} s") from None


@contextmanager
def memory_limit(size: int) -> Iterator[None]:
    """Refuse allocations once the process has taken ``size`` bytes more than now.

    The limit is the address space of the whole process, so that it also holds inside C code;
    Python, NumPy and Arrow raise MemoryError at it. One thread at a time has such a limit. It does
    nothing on systems other than Linux.

    Args:
        size: in bytes; what other threads take meanwhile counts too.
    """
    if sys.platform != "linux":
        yield
        return
    import resource

    with _memory_lock:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        soft, hard = resource.getrlimit(resource.RLIMIT_AS)
        wanted = pages * resource.getpagesize() + size
        bounds = [bound for bound in (soft, hard) if bound != resource.RLIM_INFINITY]
        resource.setrlimit(resource.RLIMIT_AS, (min([wanted, *bounds]), hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


class _Expired(BaseException):
    """Passes through a function that catches every Exception."""


def _may_ring_within(seconds: float) -> bool:
    """Return whether a timer is available and not already set to fire sooner."""
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or not hasattr(signal, "setitimer"):
        return False
    outer, _ = signal.getitimer(signal.ITIMER_REAL)
    return not 0.0 < outer <= seconds


def _call_with_timer(
    seconds: float, expired: _Expired, function: Callable[..., Any], *arguments: Any
) -> Any:
    def expire(number: int, frame: FrameType | None) -> None:
        raise expired

    start = time.monotonic()
    handler = signal.signal(signal.SIGALRM, expire)
    outer, interval = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        return function(*arguments)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, handler)
        if outer:
            # An earlier timer is restored, and fires soon if it should have fired meanwhile.
            left = max(outer - (time.monotonic() - start), 1e-3)
            signal.setitimer(signal.ITIMER_REAL, left, interval)


def _call_on_thread(
    seconds: float, expired: _Expired, function: Callable[..., Any], *arguments: Any
) -> Any:
    answers: list[Any] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            answers.append(function(*arguments))
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, name="limited call", daemon=True)
    thread.start()
    try:
        thread.join(seconds)
    finally:
        is_late = thread.is_alive()
        if is_late:
            _end(thread)
    if is_late:
        raise expired
    if errors:
        raise errors[0]
    return answers[0]


def _end(thread: threading.Thread) -> None:
    """Raise an exception in a thread, at its next Python instruction."""
    number = ctypes.c_ulong(thread.ident or 0)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(number, ctypes.py_object(_Expired))
