"""What the rows of a claim say: every contrast with its interval, and the verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from rlhf_env.statistics import Estimate
from studies.statistics.intervals import estimate
from studies.zoo.claim import Claim, Contrast, Point, Row
from studies.zoo.registry import Entry
from studies.zoo.table import points_of
from studies.zoo.verdict import together


@dataclass(frozen=True, kw_only=True)
class Found:
    """A contrast, measured."""

    contrast: Contrast
    estimate: Estimate
    """Interquartile mean of the differences over seeds, with its 95 % bootstrap interval."""

    @property
    def verdict(self) -> str:
        """What the contrast's rule says of it."""
        return self.contrast.rule.verdict(self.estimate)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A claim with all its rows."""

    entry: Entry
    claim: Claim
    rows: Mapping[Point, Row]
    """By arm and seed."""
    found: tuple[Found, ...]
    """The contrasts in the claim's order."""
    seconds: float | None
    """What the runs took, if it was noted."""

    @property
    def verdict(self) -> str:
        """One of `studies.zoo.verdict.VERDICTS`."""
        return together(one.verdict for one in self.found)

    @property
    def deciding(self) -> Found:
        """The first contrast that has the claim's verdict."""
        return next(one for one in self.found if one.verdict == self.verdict)

    def arm(self, arm: str, measure: str) -> Estimate | None:
        """Return an arm's interquartile mean over seeds of a column."""
        seeds = range(self.claim.experiment.seeds)
        return estimate([self.rows[Point(arm, seed)][measure] for seed in seeds])


def finding(
    entry: Entry, claim: Claim, rows: Mapping[Point, Row], seconds: float | None
) -> Finding | None:
    """Return what the rows of a claim say; None where some are missing."""
    if not set(points_of(claim)) <= set(rows):
        return None
    found = tuple(_measured(claim, contrast, rows) for contrast in claim.contrasts)
    return Finding(entry=entry, claim=claim, rows=rows, found=found, seconds=seconds)


def differences(claim: Claim, contrast: Contrast, rows: Mapping[Point, Row]) -> list[float]:
    """Return the contrast of every seed."""
    found = []
    for seed in range(claim.experiment.seeds):
        more = rows[Point(contrast.more, seed)][contrast.measure]
        less = contrast.constant
        if contrast.less is not None:
            less = rows[Point(contrast.less, seed)][contrast.measure]
        found.append((more - less) / abs(less) if contrast.relative else more - less)
    return found


def _measured(claim: Claim, contrast: Contrast, rows: Mapping[Point, Row]) -> Found:
    values = differences(claim, contrast, rows)
    known = estimate(values) if np.isfinite(values).all() else None
    if known is None:
        # A seed without a number: nothing is said, rather than of the others alone.
        known = Estimate(value=float("nan"), low=None, high=None, count=len(values))
    return Found(contrast=contrast, estimate=known)
