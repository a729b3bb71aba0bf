"""Reward is bought with entropy by one law."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from studies.experiment.result import RunResult
from studies.zoo.claim import Claim, Contrast
from studies.zoo.experiments.measures import Final, curve
from studies.zoo.experiments.training import Arm, Training
from studies.zoo.verdict import Exceeds


@dataclass(frozen=True)
class LawRSquared:
    """R² of R = −a·exp(H) + b over the updates of a run, by least squares."""

    def __call__(self, result: RunResult) -> float:
        """Return it."""
        rewards = np.array(curve(result, "objective"))
        bases = np.exp(curve(result, "entropy"))
        return float(np.corrcoef(rewards, bases)[0, 1] ** 2)


@dataclass(frozen=True)
class EarlyShare:
    """The share of the whole gain that the first twelfth of the updates brought."""

    def __call__(self, result: RunResult) -> float:
        """Return it."""
        gained = curve(result, "gained")
        return gained[len(gained) // 12 - 1] / max(gained[-1], 1e-9)


CLAIM = Claim(
    title="R = −a·exp(H) + b",
    citation="The entropy mechanism, arXiv:2505.22617",
    says="Without a KL penalty the score is an affine function of the exponential of the policy's "
    "entropy, and most of both is spent early.",
    reported="73 % of the entropy and 76 % of the gain in the first 200 steps, a twelfth of the "
    "training; read at the source",
    setting="needles-16 without KL, GRPO with groups of 8, 96 updates of 32 responses, step size "
    "0.05. R is the exact expected score, H the mean entropy per token of the rollouts.",
    truth="the exact expected score after every update",
    experiment=Training(
        task="needles-16",
        updates=96,
        learning_rate=0.05,
        kl_coef=0.0,
        eval_episodes=64,
        arms={"GRPO": Arm(agent="grpo", settings={"group_size": 8})},
        measures={
            "R²": LawRSquared(),
            "early share": EarlyShare(),
            "score": Final("score"),
            "entropy": Final("entropy"),
        },
    ),
    contrasts=(
        Contrast(
            says="R² of the law minus 0.8",
            measure="R²",
            more="GRPO",
            constant=0.8,
            rule=Exceeds(size=0.1),
        ),
        Contrast(
            says="share of the gain in the first twelfth of the updates minus a twelfth",
            measure="early share",
            more="GRPO",
            constant=1 / 12,
            rule=Exceeds(size=0.4),
        ),
    ),
    guess="R² is 0.89, so the law is a fair description. Nothing is spent early: the policy starts "
    "from a nearly uniform reference with much to learn, not from a model that has most of it "
    "already.",
)
