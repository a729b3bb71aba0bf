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
    from rlhf_env.rewards.conservative import ConservativeReward
    from rlhf_env.rewards.ensemble import Ensemble
    from rlhf_env.rewards.judge import JudgeReward, PairwiseJudgeReward
    from rlhf_env.rewards.judge_answers import LabelAnswer, NumberAnswer, WordAnswer
    from rlhf_env.rewards.judge_model import Judge
    from rlhf_env.rewards.out_of_distribution import OutOfDistribution
    from rlhf_env.rewards.own_randomness import OwnRandomness
    from rlhf_env.rewards.preference_data import PreferenceData
    from rlhf_env.rewards.preference_files import read_preferences
    from rlhf_env.rewards.preference_losses import (
        davidson_losses,
        kwise_loss,
        ordinal_losses,
        plackett_luce_loss,
        rating_losses,
        thumb_losses,
        token_losses,
        vote_losses,
    )
    from rlhf_env.rewards.preferences import (
        ComparedResponses,
        Comparison,
        MarkedResponse,
        Ranking,
        Rating,
        Span,
        Thumb,
        Votes,
    )
    from rlhf_env.rewards.protocol import PrefixReward, Reward
    from rlhf_env.rewards.rated_texts import RatedTexts, read_rated_texts
    from rlhf_env.rewards.text_regression import TextRegressionReward
    from rlhf_env.rewards.time_limit import TimeLimit
    from rlhf_env.rewards.training.settings import LossSettings, RewardSettings
    from rlhf_env.rewards.training.train import RewardTraining, train
    from rlhf_env.rewards.training.trained import TrainedReward, load_reward, save_reward

__all__ = [
    "ClassifierReward",
    "ComparedResponses",
    "Comparison",
    "ConservativeReward",
    "Ensemble",
    "Judge",
    "JudgeReward",
    "LabelAnswer",
    "LossSettings",
    "MarkedResponse",
    "NumberAnswer",
    "OutOfDistribution",
    "OwnRandomness",
    "PairwiseJudgeReward",
    "PreferenceData",
    "PrefixReward",
    "Ranking",
    "RatedTexts",
    "Rating",
    "Reward",
    "RewardSettings",
    "RewardTraining",
    "ScalarRewardModel",
    "Span",
    "TextRegressionReward",
    "Thumb",
    "TimeLimit",
    "TrainedReward",
    "Votes",
    "WordAnswer",
    "bradley_terry_loss",
    "davidson_losses",
    "kwise_loss",
    "load_reward",
    "ordinal_losses",
    "plackett_luce_loss",
    "prefix_bradley_terry_loss",
    "rating_losses",
    "read_preferences",
    "read_rated_texts",
    "save_reward",
    "thumb_losses",
    "token_losses",
    "train",
    "vote_losses",
]

_HOMES = {
    "ClassifierReward": "classifier",
    "ComparedResponses": "preferences",
    "Comparison": "preferences",
    "ConservativeReward": "conservative",
    "Ensemble": "ensemble",
    "Judge": "judge_model",
    "JudgeReward": "judge",
    "LabelAnswer": "judge_answers",
    "LossSettings": "training.settings",
    "MarkedResponse": "preferences",
    "NumberAnswer": "judge_answers",
    "OutOfDistribution": "out_of_distribution",
    "OwnRandomness": "own_randomness",
    "PairwiseJudgeReward": "judge",
    "PreferenceData": "preference_data",
    "PrefixReward": "protocol",
    "Ranking": "preferences",
    "RatedTexts": "rated_texts",
    "Rating": "preferences",
    "Reward": "protocol",
    "RewardSettings": "training.settings",
    "RewardTraining": "training.train",
    "ScalarRewardModel": "bradley_terry",
    "Span": "preferences",
    "TextRegressionReward": "text_regression",
    "Thumb": "preferences",
    "TimeLimit": "time_limit",
    "TrainedReward": "training.trained",
    "Votes": "preferences",
    "WordAnswer": "judge_answers",
    "bradley_terry_loss": "bradley_terry",
    "davidson_losses": "preference_losses",
    "kwise_loss": "preference_losses",
    "load_reward": "training.trained",
    "ordinal_losses": "preference_losses",
    "plackett_luce_loss": "preference_losses",
    "prefix_bradley_terry_loss": "bradley_terry",
    "rating_losses": "preference_losses",
    "read_preferences": "preference_files",
    "read_rated_texts": "rated_texts",
    "save_reward": "training.trained",
    "thumb_losses": "preference_losses",
    "token_losses": "preference_losses",
    "train": "training.train",
    "vote_losses": "preference_losses",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
