"""Averaged weights of reward models resist hacking."""

from __future__ import annotations

from functools import lru_cache

import torch

from rlhf_env.rewards.bradley_terry import ScalarRewardModel
from rlhf_env.rewards.ensemble import Ensemble
from rlhf_env.rewards.training.averaged import averaged_weights
from rlhf_env.rewards.training.fit import fit
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
from studies.zoo.verdict import Exceeds, NotBelow

_PAIRS, _MEMBERS, _KL_COEF = 200, 4, 0.2


@lru_cache(maxsize=2)
def _members(seed: int) -> list[ScalarRewardModel]:
    """Fit models of one trunk and one set of labels; heads and orders are their own."""
    pairs = comparisons(_PAIRS, seed, gold)
    held_out = int(HELD_OUT * _PAIRS)
    found = []
    for member in range(_MEMBERS):
        model = fresh_model(trunk_seed=seed, head_seed=100 * seed + member)
        order = torch.Generator().manual_seed(100 * seed + member)
        fit(model, PairObjective(), pairs[held_out:], pairs[:held_out], SETTINGS, order)
        found.append(model)
    return found


def _compute(arm: str, seed: int) -> dict[str, float]:
    members = _members(seed)
    if arm == "averaged weights":
        return optimized(averaged_weights(members), _KL_COEF)
    if arm == "averaged scores":
        return optimized(Ensemble(members), _KL_COEF)
    single = [optimized(member, _KL_COEF) for member in members]
    return {name: sum(one[name] for one in single) / _MEMBERS for name in single[0]}


CLAIM = Claim(
    title="Averaged weights of reward models resist hacking",
    citation="WARM, arXiv:2401.12187",
    says="One reward model with the mean weights of several is better optimized against than a "
    "single one, and as good as the mean of their scores.",
    reported="79.4 % wins over a policy of a single model; not checked at the source",
    setting="Four small transformers with one random trunk, and heads of their own, fitted to 200 "
    "noisy pairs; a task of 1,093 responses. The policy is the exact optimum of the learned score, "
    "standardized, at beta 0.2. There is no pretraining here, which WARM builds on.",
    truth="exact optima of the learned rewards and their exact gold scores",
    experiment=Computed(
        arms=("averaged weights", "averaged scores", "single"),
        measures=("gold", "kl", "length"),
        compute=_compute,
    ),
    contrasts=(
        Contrast(
            says="gold score of the optimum: averaged weights minus single",
            measure="gold",
            more="averaged weights",
            less="single",
            rule=Exceeds(size=0.05),
        ),
        Contrast(
            says="gold score of the optimum: averaged weights minus averaged scores",
            measure="gold",
            more="averaged weights",
            less="averaged scores",
            rule=NotBelow(margin=0.05),
        ),
    ),
    guess="The difference over seeds is as large as the effect. Members that begin with one random "
    "trunk are not linearly connected as pretrained ones are, and 200 pairs leave all of them far "
    "from the truth.",
)
