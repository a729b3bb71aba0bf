"""A discount on the score alone shortens answers and costs no accuracy."""

from __future__ import annotations

from studies.zoo.claim import Claim, Contrast
from studies.zoo.experiments.automata import length_figures
from studies.zoo.experiments.measures import Final
from studies.zoo.experiments.training import Arm, Training
from studies.zoo.verdict import Exceeds, NotBelow


def _rloo(gamma: float) -> Arm:
    settings = {"group_size": 4, "gamma": {"score": gamma, "kl": 1.0}}
    return Arm(agent="rloo", settings=settings)


CLAIM = Claim(
    title="A discount on the score alone shortens answers",
    citation="Discounted reinforcement learning for reasoning, arXiv:2510.23486",
    says="gamma < 1 on the correctness reward, and on nothing else, makes answers shorter at equal "
    "accuracy.",
    reported="pass@1 on a par with shorter chains on GSM8K and MATH; read at the source",
    setting="needles-32: four tokens have to be found in order, distractors between them are free "
    "and "
    "so is going on afterwards; the reference ends a response with 2 % at every token. RLOO with "
    "groups of 4, 80 updates of 32 responses, beta 0.01. At the 0.07 % of the family itself, tried "
    "first, "
    "endings are hardly ever drawn and 80 updates shorten responses by 1.4 % only.",
    truth="the expected length and score of every trained policy, summed over all responses",
    experiment=Training(
        task="needles-32",
        updates=80,
        learning_rate=0.05,
        kl_coef=0.01,
        policy="table",
        task_options=("eos_logit=-2.0",),
        probe=length_figures,
        arms={"gamma 1": _rloo(1.0), "gamma 0.99": _rloo(0.99), "gamma 0.97": _rloo(0.97)},
        measures={
            "length": Final("exact_length"),
            "score": Final("exact_score"),
            "kl": Final("kl"),
            "gained": Final("gained"),
        },
    ),
    contrasts=(
        Contrast(
            says="length: gamma 1 minus gamma 0.97, as a share of the latter",
            measure="length",
            more="gamma 1",
            less="gamma 0.97",
            relative=True,
            rule=Exceeds(size=0.1),
        ),
        Contrast(
            says="score: gamma 0.97 minus gamma 1",
            measure="score",
            more="gamma 0.97",
            less="gamma 1",
            rule=NotBelow(margin=0.03),
        ),
    ),
    guess="At gamma 0.99 both parts hold: less than half the length at a score that is not lower. "
    "At 0.97, "
    "where an answer that takes ten tokens longer loses a quarter, some runs learn to stop before "
    "all four are found.",
)
