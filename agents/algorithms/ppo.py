"""Proximal policy optimization (arXiv:1707.06347) on decisions of any granularity."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from agents.algorithms.actor_critic import (
    ActorCriticTargets,
    actor_critic_loss,
    actor_critic_targets,
)
from agents.critics.agent import ActorCritic
from agents.policy import PolicyOutput
from agents.settings.ppo import PPOConfig
from rlhf_env.engine.language_model import LanguageModel
from rlhf_env.rollout import Rollout


@dataclass(frozen=True)
class PPOAlgorithm:
    """GAE, the clipped surrogate, and a critic."""

    config: PPOConfig

    def targets(
        self, rollout: Rollout, old: PolicyOutput, reference: LanguageModel
    ) -> ActorCriticTargets:
        """Return advantages by GAE, and returns; see `Algorithm.targets`."""
        return actor_critic_targets(rollout, old, self.config)

    def loss(
        self, rollout: Rollout, new: PolicyOutput, old: PolicyOutput, targets: ActorCriticTargets
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return −min(ρ A, clip(ρ) A) + β KL + c (V − G)²/2; see `Algorithm.loss`."""
        return actor_critic_loss(rollout, new, targets, self.config, self.config.clip)


class PPO(ActorCritic):
    """Proximal policy optimization with a critic.

    Example:
        >>> envs = gym.make_vec("RLHF-v0", num_envs=32, task="toy15")  # doctest: +SKIP
        >>> PPO(envs, gamma=0.99, gae_lambda=0.95).learn(total_episodes=4096)  # doctest: +SKIP
    """

    config: PPOConfig
    config_class = PPOConfig
    algorithm_class = PPOAlgorithm
