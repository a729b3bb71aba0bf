"""Numbers of a training run, as data: what a claim's table has of its curve and its end."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from studies.experiment.result import RunResult


@dataclass(frozen=True)
class Final:
    """A figure of the evaluation after training, such as "score", "kl" or the exact "regret"."""

    name: str

    def __call__(self, result: RunResult) -> float:
        """Return it."""
        return result.row[self.name]


@dataclass(frozen=True)
class Mean:
    """The mean of a figure over the updates: the area under its curve."""

    name: str
    first: int = 1
    """The update to begin with."""

    def __call__(self, result: RunResult) -> float:
        """Return it."""
        return float(np.mean(curve(result, self.name, self.first)))


@dataclass(frozen=True)
class At:
    """A figure of one update."""

    name: str
    update: int

    def __call__(self, result: RunResult) -> float:
        """Return it."""
        return next(p[self.name] for p in result.curve if p["update"] == self.update)


@dataclass(frozen=True)
class Least:
    """The least value of a figure over the updates."""

    name: str

    def __call__(self, result: RunResult) -> float:
        """Return it."""
        return min(curve(result, self.name))


@dataclass(frozen=True)
class UpdatesTo:
    """The first update after which a figure is at least a threshold; one more than all if none."""

    name: str
    threshold: float

    def __call__(self, result: RunResult) -> float:
        """Return it."""
        for point in result.curve:
            if point.get(self.name, -math.inf) >= self.threshold:
                return point["update"]
        return len(result.curve) + 1.0


def curve(result: RunResult, name: str, first: int = 1) -> list[float]:
    """Return a figure of the updates from one on; those that lack it are left out."""
    return [p[name] for p in result.curve if name in p and p["update"] >= first]
