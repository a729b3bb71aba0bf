"""What a claim consists of. A file of `studies.zoo.claims` has one, called ``CLAIM``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from studies.zoo.verdict import Rule

Row = Mapping[str, float]


@dataclass(frozen=True, order=True)
class Point:
    """One run: a row of a claim's table."""

    arm: str
    seed: int


class Experiment(Protocol):
    """What is run: some arms, each with the same seeds."""

    @property
    def names(self) -> tuple[str, ...]:
        """The arms, in the order of the page."""
        ...

    @property
    def seeds(self) -> int:
        """Runs of each arm, with the seeds 0, 1, …."""
        ...

    @property
    def measured(self) -> tuple[str, ...]:
        """The columns of the table."""
        ...

    def batches(self, points: Sequence[Point]) -> list[tuple[Point, ...]]:
        """Return the points in parts that are run one after the other."""
        ...

    def run(self, points: Sequence[Point]) -> list[Row]:
        """Return the row of each point; the same whichever other points there are."""
        ...


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """A difference that the claim predicts, seed by seed: ``more`` minus ``less``.

    Both are written such that the claim says "positive" (or "nearly 0", by the rule).
    """

    says: str
    """What is subtracted from what, in words and with its unit."""
    measure: str
    """The column of the table."""
    more: str
    """The arm of which the claim predicts more."""
    rule: Rule
    """From the interval to a verdict; fixed before the runs."""
    less: str | None = None
    """The arm of which it predicts less; None subtracts ``constant``."""
    constant: float = 0.0
    """What is subtracted where there is no other arm."""
    relative: bool = False
    """Divide by the absolute value of what is subtracted: a share instead of a difference."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A published result, and what decides here whether it holds."""

    title: str
    """A heading."""
    citation: str
    """Authors or title, and where."""
    says: str
    """The claim in one sentence, in words of one's own."""
    reported: str
    """The authors' figures, and what of them was read at the source."""
    setting: str
    """Task, agents and budget here, and what stands for what."""
    experiment: Experiment
    """The arms and how they are run."""
    contrasts: tuple[Contrast, ...]
    """What decides, the most important first."""
    truth: str = ""
    """What exact quantity decides, if one does."""
    guess: str = ""
    """What might explain the result; written after the runs, and shown as a guess."""


def check_claim(claim: Claim) -> None:
    """Refuse a claim that could not be reported.

    Raises:
        ValueError: with what is wrong about it.
    """
    for name in ("title", "citation", "says", "reported", "setting"):
        if not getattr(claim, name).strip():
            raise ValueError(f"a claim must have {name}, got an empty one; write it")
    names, measured = claim.experiment.names, claim.experiment.measured
    if len(set(names)) != len(names) or not names or claim.experiment.seeds < 1:
        raise ValueError(f"a claim must have arms of different names and seeds, got {names}")
    if not claim.contrasts:
        raise ValueError("a claim must have a contrast that decides, got none; add one")
    for contrast in claim.contrasts:
        arms = [arm for arm in (contrast.more, contrast.less) if arm is not None]
        if contrast.measure not in measured or not set(arms) <= set(names):
            raise ValueError(
                f"a contrast must be of {', '.join(measured)} and of the arms {', '.join(names)}, "
                f"got {contrast.measure!r} of {', '.join(arms)}"
            )
        if contrast.rule.scale <= 0:
            raise ValueError(f"the size in a rule must be > 0, got {contrast.rule.scale}")
