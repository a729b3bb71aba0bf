"""PPO with a penalty in place of the clip (arXiv:1707.06347, section 4)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from agents.algorithms.actor_critic import (
    ActorCriticTargets,
    actor_critic_loss,
    actor_critic_targets,
)
from agents.critics.agent import ActorCritic
from agents.math import masked_mean
from agents.policy import Policy, PolicyOutput
from agents.rollouts.contract import check_methods
from agents.rollouts.decisions import is_decision, sum_per_decision
from agents.rollouts.divided import evaluated_in_shares
from agents.settings.ppo import LARGEST_PENALTY, SMALLEST_PENALTY, KLPenaltyPPOConfig
from agents.training.learner import Learner
from rlhf_env.engine.language_model import LanguageModel
from rlhf_env.kl import k3
from rlhf_env.rollout import Rollout


def next_penalty_coef(penalty_coef: float, observed: float, target: float) -> float:
    """Return the weight of the KL in the next update.

    β/2 if d < d_targ / 1.5, 2β if d > 1.5 d_targ   (arXiv:1707.06347, section 4)

    Args:
        penalty_coef: the current β.
        observed: d, the KL(old || new) of the last update.
        target: d_targ, in the same unit.

    Raises:
        ValueError: if the observed KL is not a number.
    """
    if math.isnan(observed):
        raise ValueError("observed KL must be a number, got nan; the coefficient is unchanged")
    if observed < target / 1.5:
        return max(penalty_coef / 2.0, SMALLEST_PENALTY)
    if observed > target * 1.5:
        return min(penalty_coef * 2.0, LARGEST_PENALTY)
    return penalty_coef


def kl_to_old(log_ratio: Tensor) -> Tensor:
    """Estimate KL(old || new) from decisions of the old policy, never below 0.

    π/π_old − 1 − log(π/π_old)

    Decisions come from the old policy however far training has moved, so both the value and the
    gradient are unbiased in every epoch; and no distribution over the vocabulary is kept.

    Args:
        log_ratio: [...] log π/π_old of decisions, with the gradient of log π.
    """
    return k3(torch.zeros_like(log_ratio), log_ratio)


class KLPenaltyPPOAlgorithm:
    """GAE, the surrogate less a penalty on leaving the old policy, and a critic."""

    def __init__(self, config: KLPenaltyPPOConfig) -> None:
        """Begin with the coefficient of the settings."""
        self.config = config
        self.penalty_coef = config.penalty_coef

    def targets(
        self, rollout: Rollout, old: PolicyOutput, reference: LanguageModel
    ) -> ActorCriticTargets:
        """Return advantages and returns; see `Algorithm.targets`."""
        return actor_critic_targets(rollout, old, self.config)

    def loss(
        self, rollout: Rollout, new: PolicyOutput, old: PolicyOutput, targets: ActorCriticTargets
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of each episode; see `Algorithm.loss`."""
        loss, metrics = actor_critic_loss(rollout, new, targets, self.config)
        log_ratio = targets.log_ratio(targets.of_decisions(new.logprobs, rollout))
        return loss + self.penalty_coef * targets.weighted_sum(kl_to_old(log_ratio)), metrics

    def observe(self, kl: float) -> None:
        """Adapt the coefficient to the KL(old || new) of an update, nats per decision."""
        self.penalty_coef = next_penalty_coef(self.penalty_coef, kl, self.config.penalty_target)

    def state(self) -> dict[str, float]:
        """Return the coefficient; see `StatefulAlgorithm`."""
        return {"penalty_coef": self.penalty_coef}

    def load_state(self, state: dict[str, float]) -> None:
        """Restore what `state` returned."""
        self.penalty_coef = state["penalty_coef"]


class KLPenaltyLearner(Learner):
    """Adam; after an update it measures how far the policy has gone and adapts the penalty."""

    algorithm: KLPenaltyPPOAlgorithm

    def __init__(self, policy: Policy, algorithm: Any, *others: Any) -> None:
        """Refuse an algorithm without a penalty to adapt; see `Learner`."""
        check_methods("algorithm", algorithm, ("observe",), "observe(kl)")
        super().__init__(policy, algorithm, *others)

    def update(
        self,
        rollout: Rollout,
        old: PolicyOutput,
        targets: Any,
        generator: np.random.Generator,
        first_pass: PolicyOutput | None = None,
    ) -> dict[str, float]:
        """Run all epochs on one rollout; see `Learner.update`.

        Returns:
            Its diagnostics, ``kl_to_old`` after the update, in nats per decision, and the
            ``penalty_coef`` that it was made with.
        """
        metrics = super().update(rollout, old, targets, generator, first_pass)
        new = evaluated_in_shares(rollout, self.policy.evaluate_rollout)
        log_ratio = sum_per_decision(new.logprobs - old.logprobs, rollout)
        observed = float(masked_mean(kl_to_old(log_ratio), is_decision(rollout)))
        penalty_coef = self.algorithm.penalty_coef
        if not self.is_critic_only:
            self.algorithm.observe(observed)
        return metrics | {"kl_to_old": observed, "penalty_coef": penalty_coef}


class KLPenaltyPPO(ActorCritic):
    """Proximal policy optimization by an adaptive penalty, with a critic.

    Example:
        >>> envs = gym.make_vec("RLHF-v0", num_envs=32, task="toy15")  # doctest: +SKIP
        >>> KLPenaltyPPO(envs, penalty_target=0.02).learn(total_episodes=4096)  # doctest: +SKIP
    """

    config: KLPenaltyPPOConfig
    config_class = KLPenaltyPPOConfig
    algorithm_class = KLPenaltyPPOAlgorithm
    learner_class = KLPenaltyLearner
