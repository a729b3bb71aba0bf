"""Drawing again where a group's scores are equal needs fewer updates."""

from __future__ import annotations

from studies.zoo.claim import Claim, Contrast
from studies.zoo.experiments.measures import Final, Mean
from studies.zoo.experiments.training import Arm, Training
from studies.zoo.verdict import Exceeds

CLAIM = Claim(
    title="Dynamic sampling needs fewer updates",
    citation="DAPO, arXiv:2503.14476",
    says="Replacing groups without a difference by further draws makes an update worth more.",
    reported="AIME from 42 to 50 %, one path of single runs; many transcriptions agree",
    setting="lock-16 without KL, which the reference opens rarely; GRPO with groups of 4, 40 "
    "updates of 32 responses, up to 4 draws each, step size 0.03. Updates are compared, as the "
    "authors do, and not the draws: those are up to 4 times as many.",
    truth="the exact expected score after every update",
    experiment=Training(
        task="lock-16",
        updates=40,
        learning_rate=0.03,
        kl_coef=0.0,
        eval_episodes=64,
        seeds=6,
        arms={
            "as drawn": Arm(agent="grpo", settings={"group_size": 4}),
            "dynamic": Arm(agent="grpo", settings={"group_size": 4, "dynamic_sampling": True}),
        },
        measures={
            "exact score, mean": Mean("objective"),
            "exact score": Final("objective"),
            "equal groups": Mean("frac_reward_zero_std"),
        },
    ),
    contrasts=(
        Contrast(
            says="mean exact score over the updates: dynamic minus as drawn",
            measure="exact score, mean",
            more="dynamic",
            less="as drawn",
            rule=Exceeds(size=0.02),
        ),
    ),
)
