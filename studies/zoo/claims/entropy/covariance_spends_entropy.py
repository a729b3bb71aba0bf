"""Entropy falls by the covariance of log-probability and advantage."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from studies.experiment.result import RunResult
from studies.zoo.claim import Claim, Contrast
from studies.zoo.experiments.measures import curve
from studies.zoo.experiments.training import Arm, Training
from studies.zoo.verdict import Exceeds


@dataclass(frozen=True)
class FallAndCovariance:
    """Over windows of 8 updates: the correlation of the entropy's fall with the covariance."""

    window: int = 8

    def __call__(self, result: RunResult) -> float:
        """Return Pearson's correlation."""
        entropy = np.array(curve(result, "entropy"))
        covariance = np.array(curve(result, "advantage_covariance"))
        falls = entropy[: -self.window] - entropy[self.window :]
        sums = np.convolve(covariance, np.ones(self.window), "valid")[: len(falls)]
        return float(np.corrcoef(falls, sums)[0, 1])


CLAIM = Claim(
    title="Entropy falls by the covariance of log-probability and advantage",
    citation="The entropy mechanism, arXiv:2505.22617",
    says="The change of entropy in a step is minus the step size times the covariance of "
    "log-probability and advantage.",
    reported="ΔH = −η·Cov, derived for tables with natural gradients; the two curves go together; "
    "read at the source",
    setting="needles-16 without KL, RLOO with groups of 8, 96 updates of 64 responses, one "
    "optimizer step each, so that the covariance is that of the step. Adam is no natural gradient.",
    experiment=Training(
        task="needles-16",
        updates=96,
        episodes=64,
        learning_rate=0.05,
        kl_coef=0.0,
        eval_episodes=64,
        arms={
            "table of states": Arm(agent="rloo", settings={"group_size": 8}),
        },
        policy="table",
        measures={"correlation": FallAndCovariance()},
    ),
    contrasts=(
        Contrast(
            says="correlation of the fall of entropy over 8 updates with the sum of covariances",
            measure="correlation",
            more="table of states",
            rule=Exceeds(size=0.5),
        ),
    ),
)
