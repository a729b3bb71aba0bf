"""A cold critic and lambda < 1 on its targets make PPO collapse on long responses."""

from __future__ import annotations

from studies.zoo.claim import Claim, Contrast
from studies.zoo.experiments.measures import Final, Least
from studies.zoo.experiments.training import Arm, Training
from studies.zoo.verdict import Exceeds

_COLD = {"gae_lambda": 0.95}
_DECOUPLED = {**_COLD, "critic_gae_lambda": 1.0}

CLAIM = Claim(
    title="A cold critic makes PPO collapse on long responses",
    citation="VC-PPO, arXiv:2503.01491",
    says="PPO with λ = 0.95 and an untrained critic gets worse on long responses; λ = 1 for the "
    "critic's targets and pretraining of the value prevent it.",
    reported="AIME from 5.6 to 41.9 %; not checked at the source",
    setting="delay-128: the first of 128 tokens decides. PPO with a critic of zeros, 8 updates of "
    "32 responses, step size 0.03; the pretraining is 4 updates of the critic alone, which come on "
    "top.",
    truth="exact regret, as the share of J* − J of the reference that is gained; below 0 is worse "
    "than the reference",
    experiment=Training(
        task="delay-128",
        updates=8,
        learning_rate=0.03,
        eval_episodes=64,
        arms={
            "cold, λ = 0.95": Arm(agent="ppo", settings=_COLD),
            "critic's λ = 1": Arm(agent="ppo", settings=_DECOUPLED),
            "VC-PPO": Arm(agent="ppo", settings={**_DECOUPLED, "critic_warmup_updates": 4}),
        },
        measures={"lowest gained": Least("gained"), "gained": Final("gained")},
    ),
    contrasts=(
        Contrast(
            says="lowest share gained on the way: VC-PPO minus cold",
            measure="lowest gained",
            more="VC-PPO",
            less="cold, λ = 0.95",
            rule=Exceeds(size=0.1),
        ),
        Contrast(
            says="share gained at the end: VC-PPO minus cold",
            measure="gained",
            more="VC-PPO",
            less="cold, λ = 0.95",
            rule=Exceeds(size=0.1),
        ),
    ),
)
