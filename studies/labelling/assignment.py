"""Who is asked what next, and in which order responses are shown. Pure functions."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Taken:
    """What is known of all items when an annotator asks for the next."""

    judged: Mapping[int, int]
    """Item -> how many annotators have answered; skips count."""
    open_elsewhere: Mapping[int, int]
    """Item -> how many other annotators have it on their screens."""
    own: Collection[int] = field(default_factory=frozenset)
    """What the annotator has answered."""
    own_open: Collection[int] = field(default_factory=frozenset)
    """What the annotator has on a screen, perhaps in another tab."""


def next_number(order: Sequence[int], taken: Taken, annotators_per_item: int) -> int | None:
    """Return the item that an annotator is asked next; None if there is none at the moment.

    Items that others have begun come first, so that agreement is known early; then those of the
    annotator's own order; at last those that are open in another tab of the same annotator.

    Args:
        order: all items in the annotator's own order.
        taken: what is known of them.
        annotators_per_item: how many answers an item needs.
    """

    def has_room(number: int) -> bool:
        waiting = taken.judged.get(number, 0) + taken.open_elsewhere.get(number, 0)
        return number not in taken.own and waiting < annotators_per_item

    free = [number for number in order if has_room(number)]
    # False sorts before True, and sorting keeps the order among equals.
    free.sort(key=lambda number: (number in taken.own_open, not taken.judged.get(number)))
    return free[0] if free else None


def own_order(numbers: Sequence[int], seed: int, annotator: str) -> list[int]:
    """Return items in an order that differs from annotator to annotator."""
    return sorted(numbers, key=lambda number: _draw(seed, "order", annotator, number))


def sides(count: int, seed: int, annotator: str, number: int) -> list[int]:
    """Return which of an item's responses is shown at each place, [K]; the same at each call."""
    return sorted(range(count), key=lambda side: _draw(seed, "side", annotator, number, side))


def _draw(*parts: object) -> bytes:
    """Return bytes that look random and depend on the parts only."""
    return hashlib.sha256(repr(parts).encode()).digest()
