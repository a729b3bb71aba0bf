"""Only k1 in the reward follows the gradient of the regularized objective."""

from __future__ import annotations

from studies.zoo.claim import Claim, Contrast
from studies.zoo.experiments.gradients import Estimator, Gradients
from studies.zoo.verdict import Exceeds, Within


def _reinforce(placement: str, estimator: str) -> Estimator:
    settings = {
        "baseline": "none",
        "aggregation": "sum",
        "kl_placement": placement,
        "kl_estimator": estimator,
    }
    return Estimator(agent="reinforce", settings=settings)


CLAIM = Claim(
    title="Only k1 in the reward has the right gradient",
    citation="A comedy of estimators, arXiv:2512.21852",
    says="Of the KL estimators, k1 in the reward alone gives an unbiased gradient; k3 in the loss "
    "does not.",
    reported="more stable training and up to 15 % better out of domain with k1 in the reward; from "
    "a list of claims, not read at the source",
    setting="toy15 with beta 0.5: the expected update of REINFORCE at ten policies near the way to "
    "the optimum, against the gradient of J. Whether training suffers is another claim.",
    truth="exact gradients: every rollout is enumerated",
    experiment=Gradients(
        arms={
            "k1 in the reward": _reinforce("reward", "k1"),
            "k3 in the reward": _reinforce("reward", "k3"),
            "k2 in the loss": _reinforce("loss", "k2"),
            "k3 in the loss": _reinforce("loss", "k3"),
        },
    ),
    contrasts=(
        Contrast(
            says="relative error of the direction: k3 in the loss minus k1 in the reward",
            measure="direction_bias",
            more="k3 in the loss",
            less="k1 in the reward",
            rule=Exceeds(size=0.1),
        ),
        Contrast(
            says="relative error of the direction: k1 in the reward",
            measure="direction_bias",
            more="k1 in the reward",
            rule=Within(margin=1e-4),
        ),
    ),
)
