"""From an interval to a verdict. What counts as what is data, written before a claim is run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rlhf_env.statistics import Estimate

HELD, WEAKER, REVERSED, UNDECIDED = VERDICTS = ("held", "weaker", "reversed", "undecided")
# A claim with several contrasts gets the first of these that one of them has.
_WORST_FIRST = (REVERSED, UNDECIDED, WEAKER, HELD)


@dataclass(frozen=True, kw_only=True)
class Exceeds:
    """The contrast has to be above 0, and for "held" to be as large as was fixed."""

    size: float
    """The least estimate that counts as "held", in the contrast's unit; > 0."""

    @property
    def scale(self) -> float:
        """By what figures divide the contrast."""
        return self.size

    def __str__(self) -> str:
        """Return the rule in words."""
        return f"held from {self.size:g} on, if the interval is above 0"

    def verdict(self, found: Estimate) -> str:
        """Return one of `VERDICTS` for a contrast with its interval."""
        if found.low is None or found.high is None:
            return UNDECIDED
        if found.high < 0:
            return REVERSED
        if found.low <= 0:
            return UNDECIDED
        return HELD if found.value >= self.size else WEAKER


@dataclass(frozen=True, kw_only=True)
class Within:
    """The contrast has to be nearly 0."""

    margin: float
    """What counts as nearly, in the contrast's unit; > 0."""

    @property
    def scale(self) -> float:
        """By what figures divide the contrast."""
        return self.margin

    def __str__(self) -> str:
        """Return the rule in words."""
        return f"held if the interval is within ±{self.margin:g}"

    def verdict(self, found: Estimate) -> str:
        """Return "held", "reversed" or "undecided" for a contrast with its interval."""
        if found.low is None or found.high is None:
            return UNDECIDED
        if found.low > self.margin or found.high < -self.margin:
            return REVERSED
        return HELD if -self.margin <= found.low and found.high <= self.margin else UNDECIDED


@dataclass(frozen=True, kw_only=True)
class NotBelow:
    """The contrast may be anything but clearly below 0."""

    margin: float
    """How far below counts as clearly, in the contrast's unit; > 0."""

    @property
    def scale(self) -> float:
        """By what figures divide the contrast."""
        return self.margin

    def __str__(self) -> str:
        """Return the rule in words."""
        return f"held if the interval is above −{self.margin:g}"

    def verdict(self, found: Estimate) -> str:
        """Return "held", "reversed" or "undecided" for a contrast with its interval."""
        if found.low is None or found.high is None:
            return UNDECIDED
        if found.high < -self.margin:
            return REVERSED
        return HELD if found.low >= -self.margin else UNDECIDED


Rule = Exceeds | Within | NotBelow


def together(verdicts: Iterable[str]) -> str:
    """Return the verdict of a claim from those of its contrasts: the worst of them.

    Raises:
        ValueError: if there is none.
    """
    found = set(verdicts)
    for name in _WORST_FIRST:
        if name in found:
            return name
    raise ValueError(f"verdicts must name one of {list(VERDICTS)}, got {sorted(found)}")
