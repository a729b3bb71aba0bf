"""What agents with a critic share: its settings, its policy, GAE, and the critic's loss."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from agents.agent import Agent
from agents.algorithms.surrogate import SurrogateTargets, decisions_of, mean_over_decisions
from agents.math import clipped_value_loss, explained_variance, gae, squared_value_loss, whiten
from agents.policy import Policy, PolicyOutput
from agents.rollouts.decisions import first_of_decision, is_decision
from agents.rollouts.discounting import apply_discount, discounted_terms, sum_of_terms
from agents.settings.actor_critic import ActorCriticConfig
from agents.settings.discount import value_names
from rlhf_env.rollout import Rollout


@dataclass(frozen=True, kw_only=True)
class ActorCriticTargets(SurrogateTargets):
    """What an agent with a critic aims at, beside `SurrogateTargets`.

    Attributes:
        returns: [B, D] what each of the critic's outputs should have said, by its name.
        values: [B, D] what it said when the policy acted, likewise.
        explained_variance: [B] one number for the rollout: how well it had predicted.
    """

    returns: Mapping[str, Tensor]
    values: Mapping[str, Tensor]
    explained_variance: Tensor


def actor_critic_targets(
    rollout: Rollout, old: PolicyOutput, config: ActorCriticConfig
) -> ActorCriticTargets:
    """Return generalised advantages, and the returns that they imply.

    Args:
        rollout: B episodes.
        old: what the policy that acted says about them.
        config: the settings.
    """
    mask = is_decision(rollout)
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
        advantages = advantages + apply_discount(estimate, mask, term.gamma, config.gradient_form)
    predicted = explained_variance(sum_of_terms(values), sum_of_terms(returns), mask)
    return ActorCriticTargets(
        **decisions_of(rollout, old, config),
        advantages=whiten(advantages, mask) if config.whiten_advantages else advantages,
        weight=mean_over_decisions(mask),
        returns=returns,
        values=values,
        explained_variance=torch.full((len(rollout),), predicted, device=mask.device),
    )


def critic_loss(
    rollout: Rollout, new: PolicyOutput, targets: ActorCriticTargets, clip_range: float | None
) -> Tensor:
    """Return the critic's loss of each episode, [b], summed over its outputs.

    Args:
        rollout: b episodes.
        new: what the policy being trained says about them, with gradient.
        targets: the same rows.
        clip_range: keeps the critic near its old values; None does not.
    """
    total, width = torch.zeros_like(targets.weight), targets.mask.shape[1]
    for name, returns in targets.returns.items():
        values = first_of_decision(new.term_values[name], rollout, width)
        if clip_range is None:
            errors = squared_value_loss(values, returns)
        else:
            errors = clipped_value_loss(values, targets.values[name], returns, clip_range)
        total = total + targets.episode_sums(errors)
    return total


class ActorCritic(Agent):
    """An agent whose policy has a critic's output for each discount."""

    config_class = ActorCriticConfig

    def _make_policy(self, model: nn.Module, **critic: Any) -> Policy:
        config = self.config
        assert isinstance(config, ActorCriticConfig)
        return super()._make_policy(
            model,
            value_names=value_names(config.gamma),
            critic=copy.deepcopy(model) if config.critic == "separate" else None,
            **critic,
        )
