"""Macro actions help where the reward is far away."""

from __future__ import annotations

from studies.zoo.claim import Claim, Contrast
from studies.zoo.experiments.measures import Final, Mean
from studies.zoo.experiments.training import Arm, Training
from studies.zoo.verdict import Exceeds

_PPO = {"gae_lambda": 0.95}

CLAIM = Claim(
    title="Macro actions shorten the way from reward to cause",
    citation="MA-RLHF, arXiv:2410.02743",
    says="Because macro actions bring actions and reward nearer to each other, credit is easier to "
    "assign.",
    reported="offered as the reason for gains up to 30 %; from the abstract",
    setting="delay-64: the first of 64 tokens decides, and the reward is paid at the end. PPO with "
    "λ = 0.95 and a critic of zeros, 12 updates of 32 responses, step size 0.03; macro actions of "
    "8 tokens.",
    truth="exact regret, as the share of J* − J of the reference that is gained",
    experiment=Training(
        task="delay-64",
        updates=12,
        learning_rate=0.03,
        eval_episodes=64,
        arms={
            "tokens": Arm(agent="ppo", settings=_PPO),
            "8 tokens": Arm(agent="ppo", settings=_PPO, granularity="macro_8"),
        },
        measures={"gained, mean": Mean("gained"), "gained": Final("gained")},
    ),
    contrasts=(
        Contrast(
            says="mean share gained: 8 tokens minus tokens",
            measure="gained, mean",
            more="8 tokens",
            less="tokens",
            rule=Exceeds(size=0.05),
        ),
    ),
    guess="The bound is that of λ: 0.95 to the power of 64 is 0.04, so tokens are not lost yet. "
    "Macro actions start faster and end lower: the seven tokens beside the first are rewarded with "
    "it.",
)
