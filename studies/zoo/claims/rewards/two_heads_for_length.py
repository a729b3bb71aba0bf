"""A head of its own for length keeps length out of the reward."""

from __future__ import annotations

import torch

from rlhf_env.rewards.training.fit import fit
from rlhf_env.rewards.training.length_aware import LengthAwareModel, LengthAwareObjective
from rlhf_env.rewards.training.pair_objectives import PairObjective
from studies.zoo.claim import Claim, Contrast
from studies.zoo.experiments.computed import Computed
from studies.zoo.experiments.learned_rewards import (
    HELD_OUT,
    SETTINGS,
    comparisons,
    fresh_model,
    gold,
    optimized,
)
from studies.zoo.verdict import Exceeds

_PAIRS, _KL_COEF = 400, 0.5
# What a token is worth to the annotator, and is not.
_BIAS = 0.5


def _judged(ids: tuple[int, ...]) -> float:
    return gold(ids) + _BIAS * len(ids)


def _compute(arm: str, seed: int) -> dict[str, float]:
    pairs = comparisons(_PAIRS, seed, gold if arm == "no length bias" else _judged)
    held_out, order = int(HELD_OUT * _PAIRS), torch.Generator().manual_seed(seed)
    train, rest = pairs[held_out:], pairs[:held_out]
    model = fresh_model(trunk_seed=seed, head_seed=seed)
    if arm != "two heads":
        fit(model, PairObjective(), train, rest, SETTINGS, order)
        return optimized(model, _KL_COEF)
    both = LengthAwareModel(model, generator=order)
    fit(both, LengthAwareObjective(both), train, rest, SETTINGS, order)
    return optimized(both.quality(), _KL_COEF)


CLAIM = Claim(
    title="A head of its own keeps length out of the reward",
    citation="ODIN, arXiv:2402.07319",
    says="Where annotators prefer longer responses, a reward with a second head for length, thrown "
    "away afterwards, gives policies that are shorter and truly better.",
    reported="more reward at equal length than the baselines; figures not checked",
    setting="400 pairs by an annotator to whom each token is worth 0.5, on a task of 1,093 "
    "responses "
    "where length is worth nothing; a small transformer. The policy is the exact optimum of the "
    "learned score, standardized, at beta 0.5.",
    truth="exact optima of the learned rewards, their exact gold scores and lengths",
    experiment=Computed(
        arms=("two heads", "one head", "no length bias"),
        measures=("gold", "length", "kl"),
        compute=_compute,
    ),
    contrasts=(
        Contrast(
            says="expected length of the optimum: one head minus two heads, tokens",
            measure="length",
            more="one head",
            less="two heads",
            rule=Exceeds(size=0.5),
        ),
        Contrast(
            says="gold score of the optimum: two heads minus one head",
            measure="gold",
            more="two heads",
            less="one head",
            rule=Exceeds(size=0.05),
        ),
    ),
    guess="Length went down by a token as claimed. What is good here needs length (every point "
    "takes two tokens), so a head that may not follow length loses some of what is good, too.",
)
