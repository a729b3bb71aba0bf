"""Separate random streams for rewards that draw from the global generators."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self

import numpy as np
import torch

from rlhf_env.rewards.protocol import Reward
from rlhf_env.rewards.wrapped import WrappedReward

States = tuple[Any, Any, torch.Tensor]


class OwnRandomness(WrappedReward):
    """A reward whose use of the global random generators does not affect other code.

    It is for rewards that call ``random``, ``numpy.random`` or ``torch`` without a generator of
    their own, next to agents that do the same. The reward gets its own streams, which continue from
    call to call, so that a noisy reward stays noisy. Generators on a GPU are left as they are.
    """

    def __init__(self, reward: Any, seed: int = 0) -> None:
        """Give ``reward`` streams that begin from ``seed``."""
        super().__init__(reward)
        self.seed = seed
        self._states: States = (
            random.Random(seed).getstate(),
            np.random.RandomState(seed).get_state(),
            torch.Generator().manual_seed(seed).get_state(),
        )

    def _call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        with kept_randomness():
            _set_states(self._states)
            try:
                return function(*arguments)
            finally:
                self._states = _states()

    def _around(self, reward: Reward) -> Self:
        return type(self)(reward, self.seed)


@contextmanager
def kept_randomness() -> Iterator[None]:
    """Set the streams of ``random``, ``numpy.random`` and ``torch`` back to where they were."""
    before = _states()
    try:
        yield
    finally:
        _set_states(before)


def _states() -> States:
    return random.getstate(), np.random.get_state(), torch.get_rng_state()


def _set_states(states: States) -> None:
    python, numpy, pytorch = states
    random.setstate(python)
    np.random.set_state(numpy)
    torch.set_rng_state(pytorch)
