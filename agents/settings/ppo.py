"""The settings of proximal policy optimization: the clip, and the penalty in its place."""

from __future__ import annotations

from dataclasses import dataclass

from agents.settings.actor_critic import ActorCriticConfig
from agents.settings.clip import ClippedConfig
from rlhf_env.checks import check_number, check_positive

SMALLEST_PENALTY, LARGEST_PENALTY = 1e-6, 1e6
"""Bounds of the penalty's weight: beyond them a policy that did not move could not recover."""


@dataclass(frozen=True, kw_only=True)
class PPOConfig(ActorCriticConfig, ClippedConfig):
    """Settings of `PPO`: those of `ActorCriticConfig` and of `ClippedConfig`."""

    learning_rate: float = 4e-4
    epochs: int = 4
    minibatches: int = 4

    value_coef: float = 0.5
    """Weight of the critic's loss."""

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        super().__post_init__()
        self._require_clip()
        check_number("value_coef", self.value_coef, minimum=0.0)


@dataclass(frozen=True, kw_only=True)
class KLPenaltyPPOConfig(ActorCriticConfig):
    """Settings of `KLPenaltyPPO`, besides those of `ActorCriticConfig`."""

    learning_rate: float = 4e-4
    epochs: int = 4
    minibatches: int = 4

    penalty_coef: float = 1.0
    """Initial weight of KL(old || new), from the policy that acted to the one being trained; the
    reference has no part in it."""

    penalty_target: float = 0.01
    """The target KL(old || new) of one update, in nats, mean over decisions.

    The weight is halved when the KL was less than 2/3 of it, and doubled when it was more than
    3/2.
    """

    value_coef: float = 0.5
    """Weight of the critic's loss."""

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        super().__post_init__()
        check_number(
            "penalty_coef", self.penalty_coef, minimum=SMALLEST_PENALTY, maximum=LARGEST_PENALTY
        )
        check_positive("penalty_target", self.penalty_target)
        check_number("value_coef", self.value_coef, minimum=0.0)
