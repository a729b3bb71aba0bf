"""Removing the mismatch of sampler and learner beats correcting for it."""

from __future__ import annotations

from studies.zoo.claim import Claim, Contrast
from studies.zoo.experiments.measures import Final, Mean
from studies.zoo.experiments.training import Arm, Training
from studies.zoo.verdict import Exceeds


def _rloo(noise: float, **correction: object) -> Arm:
    return Arm(agent="rloo", settings={"group_size": 4, "behavior_noise": noise, **correction})


CLAIM = Claim(
    title="Removing the mismatch beats correcting for it",
    citation="Defeating the training-inference mismatch via FP16, arXiv:2510.26788",
    says="A sampler that agrees with the learner beats every importance correction of one that "
    "does not.",
    reported="FP16 with the plain policy gradient beats all corrections under BF16; read in a list "
    "of claims, not at the source",
    setting="needles-16, RLOO with groups of 4, 40 updates of 32 responses, step size 0.05. The "
    "mismatch is Gaussian noise of 0.5 on the sampler's logits, drawn anew with every update, "
    "which is far more than rounding.",
    truth="exact regret, as the share of J* − J of the reference that is gained",
    experiment=Training(
        task="needles-16",
        updates=40,
        learning_rate=0.05,
        seeds=6,
        eval_episodes=64,
        arms={
            "no mismatch": _rloo(0.0),
            "mismatch, uncorrected": _rloo(0.5),
            "token ratios, cut at 2": _rloo(0.5, importance="token", importance_cap=2.0),
            "sequence ratios, cut at 2": _rloo(0.5, importance="sequence", importance_cap=2.0),
            "sequence ratios in 0.5 to 2": _rloo(
                0.5, importance="sequence", importance_band=(0.5, 2.0)
            ),
        },
        measures={"gained, mean": Mean("gained"), "gained": Final("gained")},
    ),
    contrasts=(
        Contrast(
            says="mean share gained: no mismatch minus token ratios",
            measure="gained, mean",
            more="no mismatch",
            less="token ratios, cut at 2",
            rule=Exceeds(size=0.01),
        ),
        Contrast(
            says="mean share gained: no mismatch minus sequence ratios",
            measure="gained, mean",
            more="no mismatch",
            less="sequence ratios, cut at 2",
            rule=Exceeds(size=0.01),
        ),
    ),
    guess="Held, and more: under this mismatch no correction is better than none, as truncated "
    "products of ratios throw most of the gradient away.",
)
