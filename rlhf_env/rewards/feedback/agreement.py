"""How well a model agrees with annotators, and how well these agree with each other.

The two sides of a pair have no order of their own, so every pair counts in both orders: by chance
two judges who take a side agree half of the time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rlhf_env.extras import importing
from rlhf_env.rewards.metrics.estimates import share
from rlhf_env.statistics import Estimate, Floats

with importing("rewards"):
    from sklearn.metrics import cohen_kappa_score

_OUTCOMES = 3


@dataclass(frozen=True, kw_only=True)
class Annotators:
    """Agreement about pairs on which several annotators voted."""

    model_agreement: Estimate | None
    """Share of the votes for a side that the model agrees with; half for equal scores."""
    annotator_agreement: Estimate | None
    """The same of an annotator left out with the sides that most of the others took; half where
    these are balanced."""
    model_kappa: float
    """Cohen's kappa of the model's choice with each vote: first, other, or tie."""
    annotator_kappa: float
    """Fleiss' kappa of the votes."""


def annotators(votes: Floats, differences: Floats, prompts: Sequence[str]) -> Annotators | None:
    """Return the agreement on the pairs with two votes or more; None if there are no such pairs.

    Args:
        votes: [P, 3] whole votes for the first response, for neither, and for the other.
        differences: [P] the model's score of the first response less that of the other.
        prompts: [P] the prompt of each pair.
    """
    is_several = votes.sum(axis=1) >= 2
    if not is_several.any():
        return None
    votes, differences = votes[is_several], differences[is_several]
    prompts = [prompt for prompt, kept in zip(prompts, is_several, strict=True) if kept]
    sides, first = votes[:, [0, 2]], (np.sign(differences) + 1) / 2
    return Annotators(
        model_agreement=_agreement(sides, first, 1 - first, prompts),
        annotator_agreement=_agreement(
            sides, _majority(sides - [1, 0]), 1 - _majority(sides - [0, 1]), prompts
        ),
        model_kappa=_cohen(votes, differences),
        annotator_kappa=fleiss_kappa(np.concatenate([votes, votes[:, ::-1]])),
    )


def fleiss_kappa(votes: Floats) -> float:
    """Return Fleiss' kappa: 0 for agreement by chance, 1 for votes that all agree.

    κ = (P − P_e)/(1 − P_e); rows weigh by their votes, which need not be equally many.
    (Fleiss 1971, Psychological Bulletin 76)

    Args:
        votes: [P, C] how many of a row's two or more votes fell into each category.
    """
    totals = votes.sum(axis=1)
    agreeing = ((votes**2).sum(axis=1) - totals) / (totals * (totals - 1))
    observed = np.average(agreeing, weights=totals)
    expected = ((votes.sum(axis=0) / totals.sum()) ** 2).sum()
    return 1.0 if expected == 1 else float((observed - expected) / (1 - expected))


def _agreement(
    sides: Floats, first: Floats, other: Floats, prompts: Sequence[str]
) -> Estimate | None:
    """Return the share of votes agreed with.

    Args:
        sides: [P, 2] votes for either side.
        first: [P] how far a vote for the first side is agreed with.
        other: [P] the same for the other side.
        prompts: [P] the prompt of each pair.
    """
    totals = sides.sum(axis=1)
    right = (sides[:, 0] * first + sides[:, 1] * other) / np.maximum(totals, 1)
    return share(right, prompts, weights=totals)


def _majority(sides: Floats) -> Floats:
    """Return 1 where the first side has more votes, 0 where the other has, else a half, [P]."""
    return (np.sign(sides[:, 0] - sides[:, 1]) + 1) / 2


def _cohen(votes: Floats, differences: Floats) -> float:
    choices = 1 - np.sign(differences)
    said = np.tile(np.arange(_OUTCOMES), len(votes))
    chosen, counts = np.repeat(choices, _OUTCOMES), votes.ravel()
    with np.errstate(invalid="ignore"):
        # Both orders of every pair: the outcomes 0, 1, 2 become 2, 1, 0.
        kappa = cohen_kappa_score(
            np.concatenate([said, 2 - said]),
            np.concatenate([chosen, 2 - chosen]).astype(int),
            labels=range(_OUTCOMES),
            sample_weight=np.concatenate([counts, counts]),
        )
    return 1.0 if np.isnan(kappa) else float(kappa)
