"""The choice of the objective for each kind of data."""

from __future__ import annotations

import torch

from rlhf_env.rewards.feedback.data import PreferenceData
from rlhf_env.rewards.feedback.rated_texts import RatedTexts
from rlhf_env.rewards.feedback.records import Rating, Thumb
from rlhf_env.rewards.training.objective import Objective
from rlhf_env.rewards.training.pair_objectives import PairObjective, PlackettLuceObjective
from rlhf_env.rewards.training.settings import LossSettings
from rlhf_env.rewards.training.single_objectives import (
    OrdinalObjective,
    RatingObjective,
    ThumbObjective,
    TokenObjective,
)


def choose_objective(data: PreferenceData, losses: LossSettings) -> Objective:
    """Return the objective for the data that are fitted to.

    Raises:
        ValueError: if a loss cannot be used with them, or there is nothing to learn from.
    """
    if data.kind == "ratings":
        return _rating_objective(data, losses)
    if data.kind == "thumbs":
        _check_thumbs(data)
        return ThumbObjective()
    if data.kind == "spans":
        return TokenObjective()
    if data.kind == "rankings" and losses.rankings == "plackett_luce":
        return PlackettLuceObjective()
    if losses.tie_strength is not None and any(pair.margin for pair in data.pairs):
        raise ValueError(
            f"tie_strength must be left out where pairs have margins, got {losses.tie_strength}"
        )
    if all(pair.is_identical for pair in data.pairs):
        raise ValueError(
            f"data must hold two different responses somewhere, got {len(data.pairs)} pairs of "
            "equal ones"
        )
    return PairObjective(tie_strength=losses.tie_strength, centering_coef=losses.centering_coef)


def _rating_objective(data: PreferenceData, losses: LossSettings) -> Objective:
    records = [record for record in data.records if isinstance(record, Rating)]
    rated = RatedTexts(
        texts=[record.response for record in records],
        ratings=[float(record.rating) for record in records],
    )
    ratings = torch.from_numpy(rated.values)
    if ratings.min() == ratings.max():
        raise ValueError(f"ratings must differ, got {ratings[0]:g} for all {len(records)}")
    if losses.ratings == "ordinal":
        return OrdinalObjective.of(ratings, rated.neutral)
    return RatingObjective(
        mean=float(ratings.mean()),
        spread=float(ratings.std(correction=0)),
        neutral=rated.neutral,
    )


def _check_thumbs(data: PreferenceData) -> None:
    ups = sum(isinstance(record, Thumb) and record.is_good for record in data.records)
    if ups in (0, len(data)):
        raise ValueError(
            f"thumbs must point both ways, got {ups} up of {len(data)}; add what is missing"
        )
