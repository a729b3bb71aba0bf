"""What the map says in words: made of its numbers alone, what did not come out included.

Settings are compared in pairs that differ in one axis only. A pair differs if the intervals do not
touch, which for 95 % intervals is stricter than a test of the difference at 5 %; pairs are not
corrected for their number, which is told.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from studies.reporting.horizon.cells import ARRIVED, HorizonCell, HorizonMap, never
from studies.reporting.horizon.tables import episodes_text
from studies.statistics.arrival import are_apart

MOST_NAMED = 6


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two cells whose settings differ in one axis."""

    axis: str
    """That one."""
    one: HorizonCell
    """The earlier in the grid's order."""
    other: HorizonCell
    """The later."""

    @property
    def is_apart(self) -> bool:
        """Whether the intervals of the arrivals do not touch."""
        return are_apart(self.one.arrival, self.other.arrival)

    @property
    def sooner(self) -> HorizonCell:
        """The one whose median arrives first; the earlier of equals."""
        return min((self.one, self.other), key=lambda cell: cell.arrival.value)

    @property
    def later(self) -> HorizonCell:
        """The other one."""
        return self.other if self.sooner is self.one else self.one


def findings(found: HorizonMap) -> dict[str, list[str]]:
    """Return sentences on each family at its longest horizon, by a heading that names both."""
    told = {}
    for family in found.families:
        of_family = [cell for cell in found.cells if cell.family == family]
        longest = _at(of_family, max(cell.horizon for cell in of_family))
        shortest = _at(of_family, min(cell.horizon for cell in of_family))
        sentences = [_never(found, longest), *_soonest(found, longest)]
        # Where nothing arrives, every pair would be told to be alike for this one reason.
        if any(cell.arrived for cell in (*longest, *shortest)):
            for axis in found.axes:
                sentences += _contrasts(found, axis, longest, shortest)
        told[f"{family} at T = {longest[0].horizon}"] = sentences
    return told


def basis(found: HorizonMap) -> str:
    """Return a sentence on what the findings rest."""
    seeds = sorted({cell.runs for cell in found.cells})
    count = str(seeds[0]) if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    return (
        f"Medians over {count} seeds with 95 % bootstrap intervals, in which never is longer than "
        f"any number; runs end after {found.budget:,} episodes. Settings that differ in one axis "
        "only are compared in pairs; their number is not corrected for."
    )


def pairs(found: HorizonMap, axis: str, cells: Sequence[HorizonCell]) -> Iterator[Pair]:
    """Yield all pairs of cells of one task whose settings differ in one axis only."""
    place = found.axes.index(axis)
    for one, other in itertools.combinations(cells, 2):
        differing = [
            i for i, (a, b) in enumerate(zip(one.setting, other.setting, strict=True)) if a != b
        ]
        if differing == [place]:
            yield Pair(axis=axis, one=one, other=other)


def _at(cells: Sequence[HorizonCell], horizon: int) -> list[HorizonCell]:
    return [cell for cell in cells if cell.horizon == horizon]


def _never(found: HorizonMap, cells: Sequence[HorizonCell]) -> str:
    lost = [cell for cell in cells if not cell.arrived]
    half = [cell for cell in cells if cell.arrived and never(cell.arrival)]
    if not lost and not half:
        return f"Every setting gains {ARRIVED} within the budget."
    if len(lost) == len(cells):
        return (
            f"No setting gains {ARRIVED} in any seed within the budget, so arrivals tell none "
            "apart; the regret shows how far each came."
        )
    parts = []
    if lost:
        parts.append(
            f"{len(lost)} of {len(cells)} settings gain {ARRIVED} in no seed: {_named(found, lost)}"
        )
    if half:
        parts.append(f"in half of the seeds at most: {_named(found, half)}")
    return f"{'; '.join(parts)}."


def _soonest(found: HorizonMap, cells: Sequence[HorizonCell]) -> list[str]:
    best = min(cells, key=lambda cell: cell.arrival.value)
    if never(best.arrival):
        return []
    return [f"Soonest: {found.name(best.setting)}, after {episodes_text(best.arrival)}."]


def _contrasts(
    found: HorizonMap, axis: str, longest: list[HorizonCell], shortest: list[HorizonCell]
) -> Iterator[str]:
    """Yield what each two values of an axis make of matched settings."""
    at_shortest = _by_values(found, axis, shortest)
    for values, here in _by_values(found, axis, longest).items():
        apart = [pair for pair in here if pair.is_apart]
        earlier = at_shortest.get(values, [])
        before = sum(pair.is_apart for pair in earlier)
        at_first = f"at T\u00a0=\u00a0{shortest[0].horizon}: in {{}} of {len(earlier)}"
        if not apart:
            lost = sum(not (pair.one.arrived or pair.other.arrived) for pair in here)
            alike = f", in {lost} because neither arrives" if lost else ""
            yield (
                f"{axis}: no difference is seen between {' and '.join(values)}: the intervals "
                f"touch in {len(here)} of {len(here)} matched pairs{alike} "
                f"({at_first.format(len(earlier) - before)})."
            )
        for winner, loser in (values, values[::-1]):
            won = [p for p in apart if found.value(p.sooner.setting, axis) == winner]
            if not won:
                continue
            largest = max(won, key=lambda p: p.later.arrival.value / p.sooner.arrival.value)
            rest = found.name(largest.sooner.setting, without=[axis])
            yield (
                f"{axis}: {winner} arrives before {loser}, intervals outside each other, in "
                f"{len(won)} of {len(here)} matched pairs ({at_first.format(before)}); "
                f"for {rest}, {episodes_text(largest.sooner.arrival)} against "
                f"{episodes_text(largest.later.arrival)}."
            )


def _by_values(
    found: HorizonMap, axis: str, cells: Sequence[HorizonCell]
) -> dict[tuple[str, str], list[Pair]]:
    """Return the matched pairs by their two values of an axis, in the grid's order."""
    made: dict[tuple[str, str], list[Pair]] = {}
    for pair in pairs(found, axis, cells):
        one, other = (found.value(cell.setting, axis) for cell in (pair.one, pair.other))
        key = (other, one) if (other, one) in made else (one, other)
        made.setdefault(key, []).append(pair)
    return made


def _named(found: HorizonMap, cells: Sequence[HorizonCell]) -> str:
    names = [found.name(cell.setting) for cell in cells[:MOST_NAMED]]
    more = len(cells) - len(names)
    return ", ".join(names) + (f" and {more} more" if more else "")
