"""A mean over all tokens of a batch beats a mean per response first."""

from __future__ import annotations

from studies.zoo.claim import Claim, Contrast
from studies.zoo.experiments.automata import length_figures
from studies.zoo.experiments.measures import Final, Mean
from studies.zoo.experiments.training import Arm, Training
from studies.zoo.verdict import Exceeds


def _grpo(aggregation: str) -> Arm:
    return Arm(agent="grpo", settings={"group_size": 8, "aggregation": aggregation})


CLAIM = Claim(
    title="A mean over tokens beats a mean over responses",
    citation="DAPO, arXiv:2503.14476",
    says="Weighing all tokens alike, instead of all responses, scores more where responses differ "
    "in length.",
    reported="AIME from 41 to 42 %, one path of single runs; many transcriptions agree",
    setting="needles-32 without KL, a reference that ends with 2 % at every token; GRPO with "
    "groups of 8, 40 updates of 32 responses, step size 0.05.",
    truth="the exact expected score after every update",
    experiment=Training(
        task="needles-32",
        updates=40,
        learning_rate=0.05,
        kl_coef=0.0,
        eval_episodes=64,
        task_options=("eos_logit=-2.0",),
        probe=length_figures,
        arms={"token mean": _grpo("decision_mean"), "response mean": _grpo("episode_mean")},
        measures={
            "exact score, mean": Mean("objective"),
            "exact score": Final("objective"),
            "length": Final("exact_length"),
        },
    ),
    contrasts=(
        Contrast(
            says="mean exact score over the updates: token mean minus response mean",
            measure="exact score, mean",
            more="token mean",
            less="response mean",
            rule=Exceeds(size=0.01),
        ),
    ),
    guess="Here long responses are as often right as short ones, so weighing them by length "
    "changes little. The authors' point is long bad responses, whose tokens a mean per response "
    "hardly punishes.",
)
