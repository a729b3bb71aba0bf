"""Rules on literal numbers: each verdict, and the edges between them."""

from __future__ import annotations

import pytest

from rlhf_env.statistics import Estimate
from studies.zoo.verdict import Exceeds, NotBelow, Rule, Within, together


def found(value: float, low: float | None, high: float | None) -> Estimate:
    return Estimate(value=value, low=low, high=high, count=5)


@pytest.mark.parametrize(
    ("rule", "estimate", "verdict"),
    [
        (Exceeds(size=0.1), found(0.2, 0.05, 0.3), "held"),
        (Exceeds(size=0.1), found(0.1, 0.05, 0.3), "held"),
        (Exceeds(size=0.1), found(0.09, 0.05, 0.3), "weaker"),
        (Exceeds(size=0.1), found(0.2, 0.0, 0.3), "undecided"),
        (Exceeds(size=0.1), found(-0.2, -0.3, 0.01), "undecided"),
        (Exceeds(size=0.1), found(-0.2, -0.3, -0.01), "reversed"),
        (Exceeds(size=0.1), found(0.2, None, None), "undecided"),
        (Within(margin=0.1), found(0.0, -0.1, 0.1), "held"),
        (Within(margin=0.1), found(0.05, -0.02, 0.11), "undecided"),
        (Within(margin=0.1), found(0.2, 0.11, 0.3), "reversed"),
        (Within(margin=0.1), found(-0.2, -0.3, -0.11), "reversed"),
        (Within(margin=0.1), found(0.0, None, None), "undecided"),
        (NotBelow(margin=0.1), found(5.0, -0.1, 9.0), "held"),
        (NotBelow(margin=0.1), found(0.0, -0.2, 0.2), "undecided"),
        (NotBelow(margin=0.1), found(-0.2, -0.3, -0.11), "reversed"),
        (NotBelow(margin=0.1), found(0.0, None, None), "undecided"),
    ],
)
def test_the_verdict_of_a_contrast(rule: Rule, estimate: Estimate, verdict: str) -> None:
    assert rule.verdict(estimate) == verdict


@pytest.mark.parametrize(
    ("verdicts", "worst"),
    [
        (("held", "held"), "held"),
        (("held", "weaker"), "weaker"),
        (("weaker", "undecided", "held"), "undecided"),
        (("undecided", "reversed"), "reversed"),
    ],
)
def test_a_claim_has_the_worst_verdict_of_its_contrasts(
    verdicts: tuple[str, ...], worst: str
) -> None:
    assert together(verdicts) == worst


def test_no_contrast_has_no_verdict() -> None:
    with pytest.raises(ValueError, match="must name one of"):
        together(())
