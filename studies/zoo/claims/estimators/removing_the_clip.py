"""PPO's clip is rarely active and can be removed."""

from __future__ import annotations

from studies.zoo.claim import Claim, Contrast
from studies.zoo.experiments.measures import Final, Mean
from studies.zoo.experiments.training import Arm, Training
from studies.zoo.verdict import NotBelow, Within

# Two steps on every rollout, as the authors.
_STEPS = {"epochs": 1, "minibatches": 2, "gae_lambda": 1.0}

CLAIM = Claim(
    title="PPO's clip can go",
    citation="Ahmadian et al., arXiv:2402.14740",
    says="In RLHF the clip is active in less than 5 % of the loss terms, and removing it does no "
    "harm.",
    reported="active in less than 5 % per batch; removing it helps slightly; as transcribed, not "
    "read at the source",
    setting="needles-16, PPO with λ = 1 and two optimizer steps on 32 responses, as the authors, "
    "and with the usual 16; step size 0.03, 40 updates.",
    truth="exact regret, as the share of J* − J of the reference that is gained",
    experiment=Training(
        task="needles-16",
        updates=40,
        learning_rate=0.03,
        arms={
            "clip 0.2": Arm(agent="ppo", settings={**_STEPS}),
            "no clip": Arm(
                agent="ppo", settings={**_STEPS, "clip_range": 1.0, "clip_range_high": 1e6}
            ),
            "clip 0.2, 16 steps": Arm(agent="ppo", settings={"gae_lambda": 1.0}),
            "no clip, 16 steps": Arm(
                agent="ppo",
                settings={"gae_lambda": 1.0, "clip_range": 1.0, "clip_range_high": 1e6},
            ),
        },
        measures={
            "gained, mean": Mean("gained"),
            "gained": Final("gained"),
            "clipped": Mean("clip_fraction"),
        },
    ),
    contrasts=(
        Contrast(
            says="mean share gained, two steps: no clip minus clip",
            measure="gained, mean",
            more="no clip",
            less="clip 0.2",
            rule=NotBelow(margin=0.02),
        ),
        Contrast(
            says="share of the loss terms that are clipped, two steps",
            measure="clipped",
            more="clip 0.2",
            rule=Within(margin=0.05),
        ),
    ),
)
