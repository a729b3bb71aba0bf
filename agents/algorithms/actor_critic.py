"""What the learning rules with a critic share: GAE, and the critic's loss."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from agents.algorithms.surrogate import DecisionBatch, check_squarable, policy_loss
from agents.math import (
    clipped_value_loss,
    explained_variance,
    gae,
    length_adaptive_lambda,
    scale_to_unit_variance,
    squared_value_loss,
    whiten,
)
from agents.policy import PolicyOutput
from agents.rollouts.decisions import first_of_decision, is_decision
from agents.rollouts.discounting import apply_discount, discounted_terms, sum_of_terms
from agents.settings.actor_critic import ActorCriticConfig
from agents.settings.clip import UNCLIPPED, Clip
from agents.settings.discount import Discount, value_names
from agents.settings.ppo import KLPenaltyPPOConfig, PPOConfig
from rlhf_env.rollout import Rollout


class Discounting(Protocol):
    """Settings that say how rewards are discounted."""

    @property
    def gamma(self) -> Discount:
        """Discount per decision, or one for each reward term."""
        ...

    @property
    def discount_unit(self) -> str:
        """One of `agents.settings.discount.DISCOUNT_UNITS`."""
        ...

    @property
    def gradient_form(self) -> str:
        """One of `agents.settings.discount.GRADIENT_FORMS`."""
        ...


@dataclass(frozen=True, kw_only=True)
class CriticAdvantages:
    """What follows from values and rewards."""

    advantages: Tensor
    """[B, D] sum over the discounts."""

    returns: Mapping[str, Tensor]
    """[B, D] what each value should have been, by the name of its discount."""

    values: Mapping[str, Tensor]
    """[B, D] the values themselves, likewise."""

    explained_variance: Tensor
    """[B] one number for the rollout: how well the values predicted the returns."""


@dataclass(frozen=True, kw_only=True)
class ActorCriticTargets(CriticAdvantages, DecisionBatch):
    """What an agent with a critic aims at: `DecisionBatch` and `CriticAdvantages`."""


def critic_advantages(
    rollout: Rollout,
    values: Mapping[str, Tensor],
    last_values: Mapping[str, Tensor] | None,
    discounting: Discounting,
    *,
    gae_lambda: float | Tensor,
    critic_gae_lambda: float | None = None,
    whiten_rewards: bool = False,
) -> CriticAdvantages:
    """Estimate advantages over some values by GAE, and the returns that they imply.

    Args:
        rollout: B episodes.
        values: [B, D] V of the state of each decision, for each discount by name.
        last_values: [B] V of the state after a truncated episode, likewise; None where all
            episodes terminated.
        discounting: the settings.
        gae_lambda: with 1 the values telescope, and nothing is left of them but −V(s_t); [B] where
            episodes have their own.
        critic_gae_lambda: of the returns that the values are to predict; the same when None.
        whiten_rewards: divide the rewards by their standard deviation.

    Raises:
        ValueError: if rewards are so large that their squares overflow.
    """
    check_squarable(rollout)
    mask = is_decision(rollout)
    advantages = torch.zeros(mask.shape, device=mask.device)
    returns = {}
    for term in discounted_terms(rollout, discounting.gamma, discounting.discount_unit):
        value = values[term.name]
        last = 0.0 if last_values is None else last_values[term.name]
        estimated_by = partial(
            gae,
            scale_to_unit_variance(term.rewards, mask) if whiten_rewards else term.rewards,
            value,
            mask,
            torch.where(rollout.terminated, 0.0, last),
            term.gamma,
        )
        estimate = estimated_by(gae_lambda)
        aim = estimate if critic_gae_lambda is None else estimated_by(critic_gae_lambda)
        returns[term.name] = aim + value
        weighted = apply_discount(estimate, mask, term.gamma, discounting.gradient_form)
        advantages = advantages + weighted
    predicted = explained_variance(sum_of_terms(values), sum_of_terms(returns), mask)
    return CriticAdvantages(
        advantages=advantages,
        returns=returns,
        values=values,
        explained_variance=predicted[..., None].expand(mask.shape[:-1]),
    )


def actor_critic_targets(
    rollout: Rollout, old: PolicyOutput, config: ActorCriticConfig
) -> ActorCriticTargets:
    """Return generalized advantages over the critic's values, whitened if ``config`` asks for it.

    Args:
        rollout: B episodes.
        old: what the policy that acted, and the critic, predict for them.
        config: the settings.
    """
    estimate = critic_advantages(
        rollout,
        values_of_decisions(rollout, old, config.gamma),
        old.last_term_values,
        config,
        gae_lambda=_policy_lambda(rollout, config),
        critic_gae_lambda=config.critic_gae_lambda,
        whiten_rewards=config.whiten_rewards,
    )
    targets = ActorCriticTargets.of(rollout, old, config, **vars(estimate))
    if not config.whiten_advantages:
        return targets
    return dataclasses.replace(targets, advantages=whiten(targets.advantages, targets.mask))


def _policy_lambda(rollout: Rollout, config: ActorCriticConfig) -> float | Tensor:
    if config.length_adaptive_lambda is None:
        return config.gae_lambda
    return length_adaptive_lambda(is_decision(rollout), config.length_adaptive_lambda)


def values_of_decisions(rollout: Rollout, old: PolicyOutput, gamma: Discount) -> dict[str, Tensor]:
    """Return [B, D] the critic's value of the state of each decision, for each discount by name."""
    return {name: first_of_decision(old.term_values[name], rollout) for name in value_names(gamma)}


def actor_critic_loss(
    rollout: Rollout,
    new: PolicyOutput,
    targets: ActorCriticTargets,
    config: PPOConfig | KLPenaltyPPOConfig,
    clip: Clip = UNCLIPPED,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the loss of policy and critic of each episode, [b], and diagnostics, [b] each.

    Args:
        rollout: b episodes.
        new: what the policy being trained predicts for them, with gradient.
        targets: the same rows.
        config: the settings.
        clip: of the ratio.
    """
    loss, metrics = policy_loss(rollout, new, targets, config, clip)
    if config.is_monte_carlo:
        return loss, metrics | {"explained_variance": targets.explained_variance}
    value_loss = critic_loss(rollout, new, targets, config.value_clip_range)
    metrics |= {"value_loss": value_loss, "explained_variance": targets.explained_variance}
    return loss + config.value_coef * value_loss, metrics


def critic_loss(
    rollout: Rollout, new: PolicyOutput, targets: ActorCriticTargets, clip_range: float | None
) -> Tensor:
    """Return the critic's loss of each episode, [b], summed over its outputs.

    Args:
        rollout: b episodes.
        new: what the policy being trained predicts for them, with gradient.
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
        total = total + targets.weighted_sum(errors)
    return total
