"""GRPO's 1/length lengthens wrong answers; Dr. GRPO's constant does not."""

from __future__ import annotations

from studies.zoo.claim import Claim, Contrast
from studies.zoo.experiments.automata import length_figures
from studies.zoo.experiments.measures import Final
from studies.zoo.experiments.training import Arm, Training
from studies.zoo.verdict import Exceeds


def _grpo(*, scale_by_std: bool, aggregation: str) -> Arm:
    settings = {"group_size": 8, "scale_by_std": scale_by_std, "aggregation": aggregation}
    return Arm(agent="grpo", settings=settings)


CLAIM = Claim(
    title="1/length lengthens wrong answers",
    citation="Dr. GRPO, arXiv:2503.20783",
    says="Averaging over a response's tokens (GRPO) makes wrong answers longer; dividing by a "
    "constant does not.",
    reported="under Dr. GRPO the length of wrong answers stays flat; figures not read at the "
    "source",
    setting="delay-32: the first token decides, everything after it is free, so a wrong answer may "
    "ramble or stop. The reference ends with 6 % at every token. No KL; 40 updates of 64 responses "
    "in groups of 8, step size 0.05 on a table of states.",
    truth="the expected length of wrong answers under every trained policy, summed over all "
    "responses",
    experiment=Training(
        task="delay-32",
        updates=40,
        episodes=64,
        learning_rate=0.05,
        kl_coef=0.0,
        policy="table",
        task_options=("eos_logit=-1.0",),
        probe=length_figures,
        arms={
            "1/length, std": _grpo(scale_by_std=True, aggregation="episode_mean"),
            "1/length": _grpo(scale_by_std=False, aggregation="episode_mean"),
            "constant": _grpo(scale_by_std=False, aggregation="constant"),
            "token mean, std": _grpo(scale_by_std=True, aggregation="decision_mean"),
        },
        measures={
            "wrong length": Final("wrong_length"),
            "wrong": Final("wrong"),
            "length": Final("exact_length"),
        },
    ),
    contrasts=(
        Contrast(
            says="length of wrong answers: 1/length minus constant, as a share of the latter",
            measure="wrong length",
            more="1/length",
            less="constant",
            relative=True,
            rule=Exceeds(size=0.1),
        ),
    ),
)
