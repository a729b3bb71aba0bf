"""The log-ratio of a DPO optimum, paid per token, makes PPO better."""

from __future__ import annotations

from studies.zoo.claim import Claim, Contrast
from studies.zoo.experiments.measures import Final, Mean
from studies.zoo.experiments.training import Arm, Training
from studies.zoo.verdict import Exceeds, NotBelow

_PPO = {"gae_lambda": 0.95}

CLAIM = Claim(
    title="DPO's log-ratio as token reward makes PPO better",
    citation="DPO meets PPO (RTO), arXiv:2404.18922",
    says="Paying every token beta·log(pi_DPO/pi_ref) instead of the score at the end makes PPO "
    "learn better.",
    reported="AlpacaEval 2 LC 27.0 against PPO's 19.5; read in the authors' README",
    setting="toy15 with beta 0.5, where pi_DPO is taken to be the exact optimum: each token is "
    "paid Q* − V*. PPO with λ = 0.95, 30 updates of 32 responses.",
    truth="exact regret (J* − J), by enumeration",
    experiment=Training(
        task="toy15",
        updates=30,
        arms={
            "score at the end": Arm(agent="ppo", settings=_PPO),
            "log-ratio per token": Arm(agent="ppo", settings=_PPO, density="implicit"),
            "score as it grows": Arm(agent="ppo", settings=_PPO, density="every_1"),
        },
        measures={"gained, mean": Mean("gained"), "regret": Final("regret")},
    ),
    contrasts=(
        Contrast(
            says="mean share gained: log-ratio per token minus score at the end",
            measure="gained, mean",
            more="log-ratio per token",
            less="score at the end",
            rule=Exceeds(size=0.02),
        ),
        Contrast(
            says="regret at the end: score at the end minus log-ratio per token",
            measure="regret",
            more="score at the end",
            less="log-ratio per token",
            rule=NotBelow(margin=0.005),
        ),
    ),
)
