"""A limit on how long a reward may take."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, Self

from rlhf_env.checks import check_number
from rlhf_env.rewards.protocol import Reward
from rlhf_env.rewards.wrapped import WrappedReward


class TimeLimit(WrappedReward):
    """A reward that must answer within a number of seconds per call, or TimeoutError is raised.

    On the main thread of a Unix system a timer signal breaks the call off: sleeping, waiting for
    the network, loops and regular expressions end at once, and only C code that never checks for
    signals is waited for. Elsewhere the call runs on its own thread, which Python cannot
    stop: after the limit it is abandoned. It may continue computing, but does not keep the program
    from ending; and code in C that lets no other thread run is waited for.
    """

    def __init__(self, reward: Any, seconds: float) -> None:
        """Limit every call of ``reward``, which judges a whole batch, to ``seconds``."""
        check_number("seconds", seconds, minimum=1e-3)
        super().__init__(reward)
        self.seconds = float(seconds)

    def _call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        call = _call_with_timer if _may_ring_within(self.seconds) else _call_on_thread
        expired = _Expired()
        try:
            return call(self.seconds, expired, function, *arguments)
        except _Expired as error:
            if error is not expired:
                # The limit of a reward around this one.
                raise
            raise TimeoutError(
                f"reward {self.__name__} must answer within {self.seconds:g} s, got no answer for "
                f"{len(arguments[-1])} responses; make it faster or raise seconds"
            ) from None

    def _around(self, reward: Reward) -> Self:
        return type(self)(reward, self.seconds)


class _Expired(BaseException):
    """Passes through a reward that catches every Exception."""


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

    thread = threading.Thread(target=run, name="reward", daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not answers:
        raise expired
    return answers[0]
