"""TDPO stays nearer to the reference than DPO at the same score."""

from __future__ import annotations

from studies.zoo.claim import Claim, Contrast
from studies.zoo.experiments.measures import Final
from studies.zoo.experiments.training import Arm, Training
from studies.zoo.verdict import Exceeds, NotBelow

CLAIM = Claim(
    title="TDPO stays nearer to the reference than DPO",
    citation="TDPO, arXiv:2404.11999",
    says="A token-wise forward KL in the preference loss keeps the policy nearer to the reference "
    "than DPO, at no loss of score.",
    reported="a better balance of KL and score than DPO on sentiment and dialogue; figures not "
    "checked",
    setting="toy15 with beta 0.5 and 400 pairs of the reference's responses, labeled by the score; "
    "100 updates of 32 pairs.",
    truth="exact KL and exact regret of every trained policy",
    experiment=Training(
        task="toy15",
        updates=100,
        seeds=6,
        arms={
            "TDPO": Arm(agent="tdpo", pairs=400),
            "DPO": Arm(agent="dpo", pairs=400),
        },
        measures={
            "kl": Final("kl_exact"),
            "score": Final("score"),
            "regret": Final("regret"),
        },
    ),
    contrasts=(
        Contrast(
            says="exact KL from the reference: DPO minus TDPO, nats",
            measure="kl",
            more="DPO",
            less="TDPO",
            rule=Exceeds(size=0.02),
        ),
        Contrast(
            says="regret: DPO minus TDPO",
            measure="regret",
            more="DPO",
            less="TDPO",
            rule=NotBelow(margin=0.01),
        ),
    ),
    guess="TDPO moved farther and got nearer to the optimum: both stop at another place than J*, "
    "and with 400 pairs neither is near it. The variant that the authors recommend (tdpo2) was not "
    "run, and their sequences are longer.",
)
