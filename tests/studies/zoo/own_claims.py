"""Tiny claims for the tests of the zoo: one computed, one trained."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from studies.zoo.claim import Claim, Contrast
from studies.zoo.experiments.computed import Computed
from studies.zoo.experiments.measures import Final, Mean
from studies.zoo.experiments.training import Arm, Training
from studies.zoo.registry import Entry
from studies.zoo.verdict import Exceeds

COMPUTED: list[tuple[str, int]] = []
"""What was computed, in order."""


def compute(arm: str, seed: int) -> dict[str, float]:
    """Return numbers of which the differences over seeds are 1, 2, 3, 4."""
    COMPUTED.append((arm, seed))
    return {"height": (seed + 1) * (2.0 if arm == "tall" else 1.0), "other": 1 / 3}


CONTRAST = Contrast(
    says="height: tall minus short",
    measure="height",
    more="tall",
    less="short",
    rule=Exceeds(size=2.0),
)
CLAIM = Claim(
    title="Tall is higher",
    citation="Nobody, 1900",
    says="Tall is higher than short.",
    reported="1 m, not read",
    setting="two numbers",
    experiment=Computed(
        arms=("tall", "short"), measures=("height", "other"), compute=compute, seeds=4
    ),
    contrasts=(CONTRAST,),
)
TRAINED = dataclasses.replace(
    CLAIM,
    truth="exact regret",
    experiment=Training(
        task="toy15",
        updates=3,
        episodes=8,
        seeds=2,
        eval_episodes=8,
        arms={
            "tall": Arm(agent="rloo", settings={"group_size": 4}),
            "short": Arm(agent="rloo", settings={"group_size": 4, "gamma": 0.5}),
            "alone": Arm(agent="rloo", settings={"group_size": 4, "importance": "token"}),
        },
        measures={"height": Final("gained"), "mean": Mean("regret")},
    ),
)


def computed_entry() -> Entry:
    """Return this file as the file of a claim of one's own."""
    return Entry(name="own-claims", theme="own", source=str(Path(__file__)))
