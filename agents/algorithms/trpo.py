"""Trust region policy optimization (arXiv:1502.05477) on decisions of any granularity."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from agents.algorithms.actor_critic import (
    ActorCriticTargets,
    actor_critic_targets,
    critic_loss,
)
from agents.algorithms.surrogate import policy_loss
from agents.algorithms.trust_region.learner import TrustRegionLearner
from agents.critics.agent import ActorCritic
from agents.policy import PolicyOutput
from agents.settings.trpo import TRPOConfig
from rlhf_env.engine.language_model import LanguageModel
from rlhf_env.rollout import Rollout


@dataclass(frozen=True)
class TRPOAlgorithm:
    """GAE, the surrogate without a clip, and a critic."""

    config: TRPOConfig

    def targets(
        self, rollout: Rollout, old: PolicyOutput, reference: LanguageModel
    ) -> ActorCriticTargets:
        """Return advantages and returns; see `Algorithm.targets`."""
        return actor_critic_targets(rollout, old, self.config)

    def loss(
        self, rollout: Rollout, new: PolicyOutput, old: PolicyOutput, targets: ActorCriticTargets
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the critic's loss of each episode; see `Algorithm.loss`."""
        loss = critic_loss(rollout, new, targets, self.config.value_clip_range)
        return loss, {"value_loss": loss, "explained_variance": targets.explained_variance}

    def surrogate(
        self, rollout: Rollout, new: PolicyOutput, old: PolicyOutput, targets: ActorCriticTargets
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the policy's loss of each episode, of the same form."""
        return policy_loss(rollout, new, targets, self.config)


class TRPO(ActorCritic):
    """Trust region policy optimization with a critic.

    Example:
        >>> envs = gym.make_vec("RLHF-v0", num_envs=32, task="toy15")  # doctest: +SKIP
        >>> TRPO(envs, max_kl=0.02).learn(total_episodes=4096)  # doctest: +SKIP
    """

    config: TRPOConfig
    config_class = TRPOConfig
    algorithm_class = TRPOAlgorithm
    learner_class = TrustRegionLearner
