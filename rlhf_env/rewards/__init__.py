"""Judges of responses.

Every name is imported when it is first used: those that need no model bring none in.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rlhf_env.rewards.bradley_terry import (
        ScalarRewardModel,
        bradley_terry_loss,
        prefix_bradley_terry_loss,
    )
    from rlhf_env.rewards.classifier import ClassifierReward
    from rlhf_env.rewards.ensemble import Ensemble
    from rlhf_env.rewards.own_randomness import OwnRandomness
    from rlhf_env.rewards.protocol import PrefixReward, Reward
    from rlhf_env.rewards.rated_texts import RatedTexts, read_rated_texts
    from rlhf_env.rewards.text_regression import TextRegressionReward
    from rlhf_env.rewards.time_limit import TimeLimit

__all__ = [
    "ClassifierReward",
    "Ensemble",
    "OwnRandomness",
    "PrefixReward",
    "RatedTexts",
    "Reward",
    "ScalarRewardModel",
    "TextRegressionReward",
    "TimeLimit",
    "bradley_terry_loss",
    "prefix_bradley_terry_loss",
    "read_rated_texts",
]

_HOMES = {
    "ClassifierReward": "classifier",
    "Ensemble": "ensemble",
    "OwnRandomness": "own_randomness",
    "PrefixReward": "protocol",
    "RatedTexts": "rated_texts",
    "Reward": "protocol",
    "ScalarRewardModel": "bradley_terry",
    "TextRegressionReward": "text_regression",
    "TimeLimit": "time_limit",
    "bradley_terry_loss": "bradley_terry",
    "prefix_bradley_terry_loss": "bradley_terry",
    "read_rated_texts": "rated_texts",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
