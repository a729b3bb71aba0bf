"""RLOO with more samples is at least as good as with fewer, as REINFORCE, and as PPO."""

from __future__ import annotations

from studies.zoo.claim import Claim, Contrast
from studies.zoo.experiments.measures import Final, Mean
from studies.zoo.experiments.training import Arm, Training
from studies.zoo.verdict import Exceeds, NotBelow

# Two steps on every rollout, as the authors.
_STEPS = {"epochs": 1, "minibatches": 2}

CLAIM = Claim(
    title="RLOO beats REINFORCE beats PPO",
    citation="Ahmadian et al., arXiv:2402.14740",
    says="RLOO with 4 samples is at least as good as with 2, as REINFORCE with a baseline, and "
    "better than PPO.",
    reported="TL;DR win rates 77.9 (k = 4), 74.2 (k = 2), 70.7 (REINFORCE) and 67.6 (PPO) %; three "
    "transcriptions of table 1 agree",
    setting="needles-16, 40 updates of 32 responses, two optimizer steps each, step size 0.05. "
    "RLOO "
    "and REINFORCE take a response as one action, as the authors do; PPO takes tokens, λ = 0.95, "
    "and begins with a critic of zeros.",
    truth="exact regret, as the share of J* − J of the reference that is gained",
    experiment=Training(
        task="needles-16",
        updates=40,
        learning_rate=0.05,
        arms={
            "RLOO, k = 4": Arm(
                agent="rloo", settings={"group_size": 4, **_STEPS}, granularity="bandit"
            ),
            "RLOO, k = 2": Arm(
                agent="rloo", settings={"group_size": 2, **_STEPS}, granularity="bandit"
            ),
            "REINFORCE": Arm(agent="reinforce", settings=_STEPS, granularity="bandit"),
            "PPO": Arm(agent="ppo", settings=_STEPS),
        },
        measures={
            "gained, mean": Mean("gained"),
            "gained": Final("gained"),
            "score": Final("score"),
            "kl": Final("kl"),
        },
    ),
    contrasts=(
        Contrast(
            says="mean share gained over the updates: RLOO k = 4 minus PPO",
            measure="gained, mean",
            more="RLOO, k = 4",
            less="PPO",
            rule=Exceeds(size=0.02),
        ),
        Contrast(
            says="the same: RLOO k = 4 minus REINFORCE",
            measure="gained, mean",
            more="RLOO, k = 4",
            less="REINFORCE",
            rule=NotBelow(margin=0.02),
        ),
        Contrast(
            says="the same: RLOO k = 4 minus k = 2",
            measure="gained, mean",
            more="RLOO, k = 4",
            less="RLOO, k = 2",
            rule=NotBelow(margin=0.02),
        ),
    ),
    guess="Two things differ from the authors' setting. There is one prompt, so REINFORCE's mean "
    "is over all 32 "
    "responses, a better baseline than that of three others. And here credit matters: PPO's tokens "
    "and its "
    "critic, a table that learns quickly, tell a needle from a distractor, which a response as one "
    "action cannot. The "
    "authors say themselves that their case rests on a good initial policy, where there is little "
    "to tell apart.",
)
