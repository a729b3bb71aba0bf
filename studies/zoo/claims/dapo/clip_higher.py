"""A higher upper clip keeps entropy and ends higher."""

from __future__ import annotations

from studies.zoo.claim import Claim, Contrast
from studies.zoo.experiments.measures import Final, Mean
from studies.zoo.experiments.training import Arm, Training
from studies.zoo.verdict import Exceeds

_STEPS = {"group_size": 8, "epochs": 4, "minibatches": 4}


def _grpo(high: float) -> Arm:
    return Arm(agent="grpo", settings={**_STEPS, "clip_range": 0.2, "clip_range_high": high})


CLAIM = Claim(
    title="Clip-higher keeps entropy and ends higher",
    citation="DAPO, arXiv:2503.14476",
    says="A clip of 0.28 above and 0.2 below keeps the entropy up, and scores more than 0.2 on "
    "both sides.",
    reported="AIME from 36 to 38 %, one path of single runs; many transcriptions agree",
    setting="lock-16 without KL, GRPO with groups of 8, 40 updates of 64 responses with 16 "
    "optimizer steps each, so that the clip is active; step size 0.03.",
    truth="the exact expected score after every update",
    experiment=Training(
        task="lock-16",
        updates=40,
        episodes=64,
        learning_rate=0.03,
        kl_coef=0.0,
        eval_episodes=64,
        arms={"0.2": _grpo(0.2), "0.28": _grpo(0.28), "0.5": _grpo(0.5)},
        measures={
            "entropy, mean": Mean("entropy"),
            "exact score, mean": Mean("objective"),
            "exact score": Final("objective"),
            "clipped": Mean("clip_fraction"),
        },
    ),
    contrasts=(
        Contrast(
            says="mean entropy per token: 0.28 minus 0.2, nats",
            measure="entropy, mean",
            more="0.28",
            less="0.2",
            rule=Exceeds(size=0.02),
        ),
        Contrast(
            says="mean exact score over the updates: 0.28 minus 0.2",
            measure="exact score, mean",
            more="0.28",
            less="0.2",
            rule=Exceeds(size=0.01),
        ),
    ),
    guess="The score rose as claimed, and the entropy did not. The wider clip lets winning tokens "
    "rise "
    "farther in an update, and in the end all arms open the lock and have spent the same.",
)
