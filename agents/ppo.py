"""Proximal policy optimisation (arXiv:1707.06347) on decisions of any granularity."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from agents.agent import Agent
from agents.config import AgentConfig
from agents.decisions import first_of_decision, is_decision
from agents.discounting import (
    GRADIENT_FORMS,
    Discount,
    check_discount,
    discounted_terms,
    value_names,
    weigh,
)
from agents.math import clipped_value_loss, explained_variance, gae, squared_value_loss, whiten
from agents.policy import Description, Policy
from agents.surrogate import (
    SurrogateTargets,
    decisions_of,
    kl_loss,
    mean_over_decisions,
    surrogate_loss,
)
from rlhf_env.language_model import LanguageModel
from rlhf_env.options import check_choice, check_number
from rlhf_env.rollout import Rollout


@dataclass(frozen=True, kw_only=True)
class PPOConfig(AgentConfig):
    """Settings of `PPO`, beside those of `AgentConfig`.

    Attributes:
        gamma: discount per decision, in [0, 1]; or one for each reward term by name, each with
            an output of the critic of its own.
        gradient_form: "usual", or "discounted", which weighs the t-th decision by gamma^t.
        gae_lambda: in [0, 1]; 1 is unbiased whatever the critic says.
        clip_range: epsilon of the clipped surrogate.
        value_coef: weight of the critic's loss.
        value_clip_range: keeps the critic near its old values; None does not.
        whiten_advantages: give the advantages of a rollout mean 0 and standard deviation 1.
        whiten_rewards: divide the rewards of a rollout's decisions by their standard deviation.
        critic: "shared", a value head on the policy's trunk; or "separate", a copy of the model
            of its own.
    """

    learning_rate: float = 4e-4
    epochs: int = 4
    minibatches: int = 4
    gamma: Discount = 1.0
    gradient_form: str = "usual"
    gae_lambda: float = 0.95
    clip_range: float = 0.2
    value_coef: float = 0.5
    value_clip_range: float | None = None
    whiten_advantages: bool = True
    whiten_rewards: bool = False
    critic: str = "shared"

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        super().__post_init__()
        check_discount(self.gamma)
        check_choice("gradient_form", self.gradient_form, GRADIENT_FORMS)
        check_choice("critic", self.critic, ("shared", "separate"))
        check_number("gae_lambda", self.gae_lambda, minimum=0.0, maximum=1.0)
        check_number("clip_range", self.clip_range, minimum=1e-6, maximum=1.0)
        check_number("value_coef", self.value_coef, minimum=0.0)
        if self.value_clip_range is not None:
            check_number("value_clip_range", self.value_clip_range, minimum=1e-6)


@dataclass(frozen=True, kw_only=True)
class PPOTargets(SurrogateTargets):
    """What PPO aims at, beside `SurrogateTargets`.

    Attributes:
        returns: [B, D] what each of the critic's outputs should have said, by its name.
        values: [B, D] what it said when the policy acted, likewise.
        explained_variance: [B] one number for the rollout: how well it had predicted.
    """

    returns: Mapping[str, Tensor]
    values: Mapping[str, Tensor]
    explained_variance: Tensor


@dataclass(frozen=True)
class PPOAlgorithm:
    """GAE, the clipped surrogate, and a critic."""

    config: PPOConfig

    def targets(self, rollout: Rollout, old: Description, reference: LanguageModel) -> PPOTargets:
        """Return advantages and returns; see `Algorithm.targets`."""
        config, mask = self.config, is_decision(rollout)
        advantages = torch.zeros(mask.shape, device=mask.device)
        returns, values = {}, {}
        for term in discounted_terms(rollout, config.gamma):
            value = first_of_decision(old.term_values[term.name], rollout)
            rewards = term.rewards
            if config.whiten_rewards:
                rewards = whiten(rewards, mask, shift_mean=False)
            estimate = gae(
                rewards,
                value,
                mask,
                bootstrap=torch.where(rollout.terminated, 0.0, old.last_term_values[term.name]),
                gamma=term.gamma,
                gae_lambda=config.gae_lambda,
            )
            returns[term.name], values[term.name] = estimate + value, value
            advantages = advantages + weigh(estimate, mask, term.gamma, config.gradient_form)
        predicted = explained_variance(_total(values), _total(returns), mask)
        return PPOTargets(
            **decisions_of(rollout, old, config),
            advantages=whiten(advantages, mask) if config.whiten_advantages else advantages,
            weight=mean_over_decisions(mask),
            returns=returns,
            values=values,
            explained_variance=torch.full((len(rollout),), predicted, device=mask.device),
        )

    def loss(
        self, rollout: Rollout, new: Description, old: Description, targets: PPOTargets
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of each episode; see `Algorithm.loss`."""
        config = self.config
        logprobs = targets.of_decisions(new.logprobs, rollout)
        loss, metrics = surrogate_loss(logprobs, targets, config.clip_range, config.clip_range)
        metrics["value_loss"] = self.value_loss(rollout, new, targets)
        metrics["explained_variance"] = targets.explained_variance
        loss = loss + kl_loss(logprobs, targets, config.kl_estimator)
        return loss + config.value_coef * metrics["value_loss"], metrics

    def value_loss(self, rollout: Rollout, new: Description, targets: PPOTargets) -> Tensor:
        """Return the critic's loss of each episode, [b], summed over its outputs."""
        total, width = torch.zeros_like(targets.weight), targets.mask.shape[1]
        for name, returns in targets.returns.items():
            values = first_of_decision(new.term_values[name], rollout, width)
            if self.config.value_clip_range is None:
                errors = squared_value_loss(values, returns)
            else:
                near = self.config.value_clip_range
                errors = clipped_value_loss(values, targets.values[name], returns, near)
            total = total + targets.episode_sums(errors)
        return total


def _total(by_name: Mapping[str, Tensor]) -> Tensor:
    return torch.stack(list(by_name.values())).sum(dim=0)


class PPO(Agent):
    """Proximal policy optimisation with a critic.

    Example:
        >>> envs = gym.make_vec("RLHF-v0", num_envs=32, task="toy15")  # doctest: +SKIP
        >>> PPO(envs, gamma=0.99, gae_lambda=0.95).learn(total_episodes=4096)  # doctest: +SKIP
    """

    config: PPOConfig
    config_class = PPOConfig
    algorithm_class = PPOAlgorithm

    def _make_policy(self, model: nn.Module) -> Policy:
        critic = copy.deepcopy(model) if self.config.critic == "separate" else None
        return Policy(
            model,
            self.base.task.vocab_size,
            self.config.temperature,
            value_names=value_names(self.config.gamma),
            critic=critic,
        )
