"""Macro actions of a few tokens learn faster than tokens."""

from __future__ import annotations

from studies.zoo.claim import Claim, Contrast
from studies.zoo.experiments.measures import Final, Mean
from studies.zoo.experiments.training import Arm, Training
from studies.zoo.verdict import Exceeds

_PPO = {"gae_lambda": 0.95}

CLAIM = Claim(
    title="Macro actions learn faster than tokens",
    citation="MA-RLHF, arXiv:2410.02743",
    says="PPO over macro actions of several tokens reaches parity sooner and ends higher than PPO "
    "over tokens.",
    reported="parity 1.7 to 2 times sooner, gains up to 30 %; from the abstract",
    setting="chain-32: at every position one token is right and the score, paid at the end, is "
    "their share. PPO with a critic, λ = 0.95, 40 updates of 32 responses, step size 0.03; macro "
    "actions of 4 tokens.",
    truth="exact regret, as the share of J* − J of the reference that is gained",
    experiment=Training(
        task="chain-32",
        updates=40,
        learning_rate=0.03,
        eval_episodes=64,
        arms={
            "tokens": Arm(agent="ppo", settings=_PPO),
            "4 tokens": Arm(agent="ppo", settings=_PPO, granularity="macro_4"),
            "response": Arm(agent="ppo", settings=_PPO, granularity="bandit"),
        },
        measures={"gained, mean": Mean("gained"), "gained": Final("gained")},
    ),
    contrasts=(
        Contrast(
            says="mean share gained: 4 tokens minus tokens",
            measure="gained, mean",
            more="4 tokens",
            less="tokens",
            rule=Exceeds(size=0.02),
        ),
    ),
    guess="On chain every token is right or wrong by itself, so four of them under one advantage "
    "share praise and blame. The authors' macro actions are phrases, whose tokens belong together; "
    "and their gain is largest where the critic is weak.",
)
