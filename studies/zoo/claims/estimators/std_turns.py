"""Dividing by the group's standard deviation turns the gradient."""

from __future__ import annotations

from studies.zoo.claim import Claim, Contrast
from studies.zoo.experiments.gradients import Estimator, Gradients
from studies.zoo.verdict import Exceeds, Within


def _grpo(*, scale_by_std: bool, aggregation: str) -> Estimator:
    settings = {"group_size": 4, "scale_by_std": scale_by_std, "aggregation": aggregation}
    return Estimator(agent="grpo", settings=settings)


CLAIM = Claim(
    title="GRPO's standard deviation and 1/length bias its gradient",
    citation="Dr. GRPO, arXiv:2503.20783",
    says="Dividing by the group's standard deviation and by the response's length biases the "
    "policy gradient; leaving both out does not.",
    reported="shown by derivation, and by lengths of wrong answers that stay flat; figures not "
    "read at the source",
    setting="toy15 with beta 0.5: the expected update for groups of 4 at ten policies near the way "
    "to the optimum, against the gradient of J.",
    truth="exact gradients: every group is enumerated",
    experiment=Gradients(
        arms={
            "neither": _grpo(scale_by_std=False, aggregation="constant"),
            "std": _grpo(scale_by_std=True, aggregation="constant"),
            "1/length": _grpo(scale_by_std=False, aggregation="episode_mean"),
            "both": _grpo(scale_by_std=True, aggregation="episode_mean"),
        },
    ),
    contrasts=(
        Contrast(
            says="relative error of the direction: std minus neither",
            measure="direction_bias",
            more="std",
            less="neither",
            rule=Exceeds(size=0.05),
        ),
        Contrast(
            says="relative error of the direction: 1/length minus neither",
            measure="direction_bias",
            more="1/length",
            less="neither",
            rule=Exceeds(size=0.05),
        ),
        Contrast(
            says="relative error of the direction: neither",
            measure="direction_bias",
            more="neither",
            rule=Within(margin=1e-4),
        ),
    ),
)
