"""All states of one prompt of a task, level by level: what the exact recursions work on."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]


class StateTree(ABC):
    """The states of one prompt, numbered level by level, and what their tokens are worth."""

    vocab_size: int
    """V."""
    scores: Array
    """What episodes are paid at their end."""

    @property
    @abstractmethod
    def sizes(self) -> list[int]:
        """The number of states after 0, 1, … actions."""

    @abstractmethod
    def listed(self) -> list[tuple[int, ...]]:
        """Return what was said in each state, in the order of their numbers."""

    @abstractmethod
    def action_values(self, level: int, scores: Array, values: Array, gamma: Array) -> Array:
        """Return Q of every token in the states of a level, [n, V].

        Args:
            level: the number of actions before.
            scores: what finishing pays, in the order of the field.
            values: [S] of the states of later levels.
            gamma: [V] discount of what follows each token.
        """

    @abstractmethod
    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield prompt and prefix of all states in order, as (tokens [B, L], lengths [B])."""

    @cached_property
    def levels(self) -> list[slice]:
        """The numbers of the states of each level."""
        ends = np.cumsum([0, *self.sizes]).tolist()
        return [slice(start, stop) for start, stop in itertools.pairwise(ends)]

    @cached_property
    def states(self) -> list[tuple[int, ...]]:
        """What was said in each state, in the order of their numbers."""
        return self.listed()

    @property
    def num_states(self) -> int:
        """S, the number of decision states."""
        return self.levels[-1].stop
