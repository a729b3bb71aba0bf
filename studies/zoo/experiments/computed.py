"""Claims that a computation decides: expectations that are enumerated, optima that are solved."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from studies.zoo.claim import Point, Row


@dataclass(frozen=True, kw_only=True)
class Computed:
    """A function of arm and seed; the seed draws the point at which something is computed."""

    arms: tuple[str, ...]
    """What is compared."""
    measures: tuple[str, ...]
    """The columns."""
    compute: Callable[[str, int], Mapping[str, float]]
    """(arm, seed) -> the columns."""
    seeds: int = 10
    """Points."""

    @property
    def names(self) -> tuple[str, ...]:
        """The arms."""
        return self.arms

    @property
    def measured(self) -> tuple[str, ...]:
        """The columns of the table."""
        return self.measures

    def batches(self, points: Sequence[Point]) -> list[tuple[Point, ...]]:
        """Return the points one by one."""
        return [(point,) for point in points]

    def run(self, points: Sequence[Point]) -> list[Row]:
        """Compute them."""
        return [self.compute(point.arm, point.seed) for point in points]
