"""Proximal policy optimisation (arXiv:1707.06347) on decisions of any granularity."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from agents.agent import Agent
from agents.config import AgentConfig
from agents.decisions import first_of_decision, is_decision, sum_per_decision
from agents.math import clipped_value_loss, explained_variance, gae, squared_value_loss, whiten
from agents.policy import Description
from agents.surrogate import SurrogateTargets, mean_over_decisions, surrogate_loss
from rlhf_env.language_model import LanguageModel
from rlhf_env.options import check_number
from rlhf_env.rollout import Rollout


@dataclass(frozen=True, kw_only=True)
class PPOConfig(AgentConfig):
    """Settings of `PPO`, beside those of `AgentConfig`.

    Attributes:
        gamma: discount per decision, in [0, 1].
        gae_lambda: in [0, 1]; 1 is unbiased whatever the critic says.
        clip_range: epsilon of the clipped surrogate.
        value_coef: weight of the critic's loss.
        value_clip_range: keeps the critic near its old values; None does not.
        whiten_advantages: give the advantages of a rollout mean 0 and standard deviation 1.
    """

    learning_rate: float = 4e-4
    epochs: int = 4
    minibatches: int = 4
    gamma: float = 1.0
    gae_lambda: float = 0.95
    clip_range: float = 0.2
    value_coef: float = 0.5
    value_clip_range: float | None = None
    whiten_advantages: bool = True

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        super().__post_init__()
        check_number("gamma", self.gamma, minimum=0.0, maximum=1.0)
        check_number("gae_lambda", self.gae_lambda, minimum=0.0, maximum=1.0)
        check_number("clip_range", self.clip_range, minimum=1e-6, maximum=1.0)
        check_number("value_coef", self.value_coef, minimum=0.0)
        if self.value_clip_range is not None:
            check_number("value_clip_range", self.value_clip_range, minimum=1e-6)


@dataclass(frozen=True, kw_only=True)
class PPOTargets(SurrogateTargets):
    """What PPO aims at, beside `SurrogateTargets`.

    Attributes:
        returns: [B, D] what the critic should have said.
        values: [B, D] what it said when the policy acted.
        explained_variance: [B] one number for the rollout: how well it had predicted.
    """

    returns: Tensor
    values: Tensor
    explained_variance: Tensor


@dataclass(frozen=True)
class PPOAlgorithm:
    """GAE, the clipped surrogate, and a critic on the policy's trunk."""

    config: PPOConfig

    def targets(self, rollout: Rollout, old: Description, reference: LanguageModel) -> PPOTargets:
        """Return advantages and returns; see `Algorithm.targets`."""
        config = self.config
        mask = is_decision(rollout)
        values = first_of_decision(old.values, rollout)
        advantages = gae(
            sum_per_decision(rollout.rewards, rollout),
            values,
            mask,
            bootstrap=torch.where(rollout.terminated, 0.0, old.last_values),
            gamma=config.gamma,
            gae_lambda=config.gae_lambda,
        )
        returns = advantages + values
        predicted = explained_variance(values, returns, mask)
        return PPOTargets(
            advantages=whiten(advantages, mask) if config.whiten_advantages else advantages,
            logprobs=sum_per_decision(old.logprobs, rollout),
            mask=mask,
            weight=mean_over_decisions(mask),
            returns=returns,
            values=values,
            explained_variance=torch.full((len(rollout),), predicted, device=values.device),
        )

    def loss(
        self, rollout: Rollout, new: Description, old: Description, targets: PPOTargets
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of each episode; see `Algorithm.loss`."""
        config, width = self.config, targets.mask.shape[1]
        loss, metrics = surrogate_loss(
            sum_per_decision(new.logprobs, rollout, width),
            targets,
            config.clip_range,
            config.clip_range,
        )
        values = first_of_decision(new.values, rollout, width)
        if config.value_clip_range is None:
            errors = squared_value_loss(values, targets.returns)
        else:
            errors = clipped_value_loss(
                values, targets.values, targets.returns, config.value_clip_range
            )
        metrics["value_loss"] = targets.episode_sums(errors)
        metrics["explained_variance"] = targets.explained_variance
        return loss + config.value_coef * metrics["value_loss"], metrics


class PPO(Agent):
    """Proximal policy optimisation with a value head on the policy's trunk.

    Example:
        >>> envs = gym.make_vec("RLHF-v0", num_envs=32, task="toy15")  # doctest: +SKIP
        >>> PPO(envs, gamma=0.99, gae_lambda=0.95).learn(total_episodes=4096)  # doctest: +SKIP
    """

    config_class = PPOConfig
    algorithm_class = PPOAlgorithm
