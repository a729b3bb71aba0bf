"""With a discount per turn an agent learns to halve; without one it has no reason to."""

from __future__ import annotations

from studies.zoo.claim import Claim, Contrast
from studies.zoo.experiments.games import guessing_figures
from studies.zoo.experiments.measures import Final
from studies.zoo.experiments.training import Arm, Training
from studies.zoo.verdict import Exceeds, NotBelow, Within


def _grpo(gamma: float) -> Arm:
    settings = {"group_size": 64, "gamma": gamma, "discount_unit": "turn"}
    return Arm(agent="grpo", settings=settings)


CLAIM = Claim(
    title="A discount per turn makes an agent halve",
    citation="GEM, arXiv:2510.01051",
    says="With gamma < 1 per turn an agent that guesses a number learns binary search and asks as "
    "few questions as possible; with gamma = 1, as in GRPO over whole conversations, it does not.",
    reported="a smaller gamma leads to about 5.6 turns, those of binary search over 50 numbers; "
    "from our notes, not read again",
    setting="guess over 1 to 7 with six turns, twice what halving needs at most, so that without a "
    "discount any order finds the number. GRPO with groups of 64, 60 updates of 128 games, step "
    "size 2e-3, the task's own beta of 0.02; the language model it begins with remembers half "
    "of the answers. 1024 games after training. Over 1 to 3 with three turns, tried first with one "
    "seed and 40 updates, gamma 1 and 0.8 both needed 1.67 turns, which is halving.",
    experiment=Training(
        task="studies.zoo.tasks:spare_turns_task",
        policy=None,
        seeds=5,
        updates=60,
        episodes=128,
        learning_rate=2e-3,
        probe=guessing_figures,
        arms={"gamma 1": _grpo(1.0), "gamma 0.9": _grpo(0.9), "gamma 0.8": _grpo(0.8)},
        measures={
            "turns": Final("turns"),
            "found": Final("found"),
            "middle first": Final("middle"),
            "kl": Final("kl"),
        },
    ),
    contrasts=(
        Contrast(
            says="guesses of games in which the number is found: gamma 1 minus gamma 0.8",
            measure="turns",
            more="gamma 1",
            less="gamma 0.8",
            rule=Exceeds(size=0.2),
        ),
        Contrast(
            says="the same: gamma 0.8 minus 17/7, which halving needs",
            measure="turns",
            more="gamma 0.8",
            constant=17 / 7,
            rule=Within(margin=0.1),
        ),
        Contrast(
            says="share of games in which it is found: gamma 0.8 minus gamma 1",
            measure="found",
            more="gamma 0.8",
            less="gamma 1",
            rule=NotBelow(margin=0.05),
        ),
    ),
    guess="At gamma 0.8 one run of five ends with an agent that ends every game at once: it found "
    "95 % of the numbers in update 33 and none in update 37, so it has no guesses to compare. The "
    "other four need 0.03 to 0.29 guesses fewer than at gamma 1, but are not at halving, and find "
    "fewer numbers. GRPO divides by the spread of a group however small that is, so a step size "
    "of 2e-3 may be too large: at 5e-4, tried afterwards with 120 updates, the seed that failed "
    "needs 2.74 guesses, and 3.04 at gamma 1.",
)
