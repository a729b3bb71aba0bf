"""A limit on how long a reward may take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

from rlhf_env.checks import check_number
from rlhf_env.limits import OutOfTimeError, call_within
from rlhf_env.rewards.protocol import Reward
from rlhf_env.rewards.wrapped import WrappedReward


class TimeLimit(WrappedReward):
    """A reward that must answer within a number of seconds per call, or TimeoutError is raised.

    `rlhf_env.limits.call_within` says how, and what is waited for nevertheless.
    """

    def __init__(self, reward: Any, seconds: float) -> None:
        """Limit every call of ``reward``, which judges a whole batch, to ``seconds``."""
        check_number("seconds", seconds, minimum=1e-3)
        super().__init__(reward)
        self.seconds = float(seconds)

    def _call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return call_within(self.seconds, function, *arguments)
        except OutOfTimeError:
            raise TimeoutError(
                f"reward {self.__name__} must answer within {self.seconds:g} s, got no answer for "
                f"{len(arguments[-1])} responses; make it faster or raise seconds"
            ) from None

    def _around(self, reward: Reward) -> Self:
        return type(self)(reward, self.seconds)
