"""Best of n is nearly on the frontier of score and KL."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from rlhf_env.exact import solve
from rlhf_env.exact.best_of_n import best_of_n
from rlhf_env.task import Task
from studies.zoo.claim import Claim, Contrast
from studies.zoo.experiments.computed import Computed
from studies.zoo.experiments.learned_rewards import all_responses, with_score
from studies.zoo.verdict import Within

_N = {f"n = {n}": n for n in (4, 16, 64)}


def best_score_at(task: Task, kl: float) -> float:
    """Return the highest score that any policy reaches at a KL, by bisection in beta."""
    low, high = math.log(1e-3), math.log(1e3)
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if solve(task, math.exp(middle)).kl > kl else (low, middle)
    return solve(task, math.exp(high)).reward


def _compute(arm: str, seed: int) -> dict[str, float]:
    known, chance = all_responses(), np.random.default_rng(seed)
    scores = dict(zip(known.ids, chance.standard_normal(len(known.ids)).tolist(), strict=True))
    task = dataclasses.replace(with_score(scores.__getitem__))
    law = known.law / known.law.sum()
    start = float(law @ np.array([scores[row] for row in known.ids]))
    found = best_of_n(task, _N[arm])
    best = best_score_at(task, found.kl)
    return {
        "score": found.reward,
        "best at this KL": best,
        "kl": found.kl,
        "lost": (best - found.reward) / (best - start),
    }


CLAIM = Claim(
    title="Best of n is nearly optimal at its KL",
    citation="Yang et al., arXiv:2404.01730",
    says="Among all policies at the same KL from the reference, the best of n has nearly the "
    "highest "
    "expected score.",
    reported="asymptotically the same as the KL-regularized optimum, close in experiments; from "
    "memory",
    setting="1,093 responses with standard normal scores, ten draws of them; against the policy "
    "pi_ref·exp(score/beta) with beta such that the KL is the same.",
    truth="exact scores and KLs of both",
    experiment=Computed(
        arms=tuple(_N), measures=("score", "best at this KL", "kl", "lost"), compute=_compute
    ),
    contrasts=tuple(
        Contrast(
            says=f"share of the possible gain that {arm} leaves",
            measure="lost",
            more=arm,
            rule=Within(margin=0.05),
        )
        for arm in _N
    ),
    guess="It is nearly optimal in the limit: of the possible gain 10 % are lost at n = 4, 7 % at "
    "16 and 5 % at 64. The bound of 5 % that was fixed here is stricter than the authors' figures "
    "ask for.",
)
