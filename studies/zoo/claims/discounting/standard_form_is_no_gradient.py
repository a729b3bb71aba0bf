"""The usual discounted policy gradient is not the gradient of the discounted objective."""

from __future__ import annotations

from studies.zoo.claim import Claim, Contrast
from studies.zoo.experiments.gradients import Estimator, Gradients
from studies.zoo.verdict import Exceeds, Within


def _reinforce(form: str) -> Estimator:
    settings = {"baseline": "none", "aggregation": "sum", "gamma": 0.9, "gradient_form": form}
    return Estimator(agent="reinforce", settings=settings)


CLAIM = Claim(
    title="The usual discounted gradient is no gradient",
    citation="Nota and Thomas, arXiv:1906.07073",
    says="Dropping gamma^t from the policy gradient, as nearly all code does, leaves a direction "
    "that is not the gradient of the discounted objective.",
    reported="a proof, and a counterexample; from memory",
    setting="toy15 with beta 0.5 and gamma 0.9: the expected update of REINFORCE at ten policies, "
    "against the gradient of the discounted J.",
    truth="exact gradients: every rollout is enumerated",
    experiment=Gradients(
        gamma=0.9,
        arms={"usual form": _reinforce("standard"), "with gamma^t": _reinforce("discounted")},
    ),
    contrasts=(
        Contrast(
            says="relative error of the direction: usual form minus with gamma^t",
            measure="direction_bias",
            more="usual form",
            less="with gamma^t",
            rule=Exceeds(size=0.02),
        ),
        Contrast(
            says="relative error of the direction: with gamma^t",
            measure="direction_bias",
            more="with gamma^t",
            rule=Within(margin=1e-4),
        ),
    ),
)
