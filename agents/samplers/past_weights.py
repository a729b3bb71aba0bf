"""The weights that a policy had some updates ago, as the sampler of an asynchronous trainer."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class PastWeights:
    """The trainable weights of a model before each of the last k updates.

    It holds k copies of them, and one more while an update or a rollout runs. Before there were
    k updates, the oldest are those of the beginning.
    """

    def __init__(self, model: nn.Module, updates: int) -> None:
        """Begin with k copies of the present weights.

        Args:
            model: whose weights change.
            updates: k; 0 remembers nothing.
        """
        self._trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
        self._past = deque(self.present() for _ in range(updates))

    def __len__(self) -> int:
        """Return k."""
        return len(self._past)

    def present(self) -> dict[str, Tensor]:
        """Return a copy of the weights as they are now, by name."""
        return {name: p.detach().clone() for name, p in self._trained.items()}

    def add(self, weights: dict[str, Tensor]) -> None:
        """Remember what `present` returned before an update, and forget the oldest."""
        self._past.popleft()
        self._past.append(weights)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Let the model have its oldest weights for a while."""
        now = self.present()
        self._write(self._past[0])
        try:
            yield
        finally:
            self._write(now)

    def saved(self) -> dict[str, Tensor]:
        """Return all that is remembered, the oldest first, by names for a checkpoint."""
        return {
            f"past.{age}.{name}": weight
            for age, weights in enumerate(self._past)
            for name, weight in weights.items()
        }

    @torch.no_grad()
    def _write(self, weights: dict[str, Tensor]) -> None:
        for name, parameter in self._trained.items():
            parameter.copy_(weights[name])
