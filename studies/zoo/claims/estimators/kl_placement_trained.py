"""Training with k3 in the loss ends farther from the optimum than with k1 in the reward."""

from __future__ import annotations

from studies.zoo.claim import Claim, Contrast
from studies.zoo.experiments.measures import Final, Mean
from studies.zoo.experiments.training import Arm, Training
from studies.zoo.verdict import Exceeds


def _rloo(placement: str, estimator: str) -> Arm:
    settings = {"group_size": 4, "kl_placement": placement, "kl_estimator": estimator}
    return Arm(agent="rloo", settings=settings)


CLAIM = Claim(
    title="k3 in the loss ends farther from the optimum",
    citation="A comedy of estimators, arXiv:2512.21852",
    says="Training with an unbiased KL gradient (k1 in the reward) ends better than with k3 in the "
    "loss.",
    reported="more stable, up to 15 % better out of domain; from a list of claims, not read at the "
    "source",
    setting="toy15 with beta 0.5, where the KL matters; RLOO with groups of 4, 150 updates of 32 "
    "responses.",
    truth="exact regret (J* − J), by enumeration",
    experiment=Training(
        task="toy15",
        updates=150,
        arms={
            "k1 in the reward": _rloo("reward", "k1"),
            "k2 in the loss": _rloo("loss", "k2"),
            "k3 in the loss": _rloo("loss", "k3"),
        },
        measures={
            "regret": Final("regret"),
            "late regret": Mean("regret", first=101),
            "kl": Final("kl_exact"),
        },
    ),
    contrasts=(
        Contrast(
            says="regret over the last 50 updates: k3 in the loss minus k1 in the reward",
            measure="late regret",
            more="k3 in the loss",
            less="k1 in the reward",
            rule=Exceeds(size=0.005),
        ),
    ),
)
