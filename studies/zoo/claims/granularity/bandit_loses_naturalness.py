"""Tokens with a discount stay closer to the reference than a bandit."""

from __future__ import annotations

from studies.zoo.claim import Claim, Contrast
from studies.zoo.experiments.measures import Final, Mean
from studies.zoo.experiments.training import Arm, Training
from studies.zoo.verdict import Exceeds, NotBelow

CLAIM = Claim(
    title="A token MDP with gamma 0.95 stays natural, a bandit does not",
    citation="RL4LMs, arXiv:2210.01241",
    says="PPO over tokens with gamma = 0.95 scores as much as over whole responses and stays "
    "closer to the reference.",
    reported="better naturalness at the same score; checked in words only, the table was not seen",
    setting="needles-16, paid at the end; PPO with λ = 0.95, 40 updates of 32 responses, step size "
    "0.03. The exact KL from the reference stands for naturalness.",
    experiment=Training(
        task="needles-16",
        updates=40,
        learning_rate=0.03,
        arms={
            "tokens, gamma 0.95": Arm(agent="ppo", settings={"gamma": 0.95}),
            "tokens, gamma 1": Arm(agent="ppo", settings={"gamma": 1.0}),
            "response": Arm(agent="ppo", settings={"gamma": 1.0}, granularity="bandit"),
        },
        measures={
            "kl": Final("kl_exact"),
            "score": Final("score"),
            "gained": Final("gained"),
            "gained, mean": Mean("gained"),
        },
    ),
    contrasts=(
        Contrast(
            says="KL from the reference: response minus tokens with gamma 0.95, nats",
            measure="kl",
            more="response",
            less="tokens, gamma 0.95",
            rule=Exceeds(size=0.2),
        ),
        Contrast(
            says="score: tokens with gamma 0.95 minus response",
            measure="score",
            more="tokens, gamma 0.95",
            less="response",
            rule=NotBelow(margin=0.02),
        ),
    ),
    guess="The KL at the end belongs to the task's optimum and is the same for all; the bandit is "
    "only slower. A policy that generalizes can drift where the reward does not look, a table has "
    "no such place.",
)
