"""REINFORCE with a choice of baselines, on decisions of any granularity.

The return from each decision on, minus a baseline that does not depend on it: nothing, the
rollout's mean, a critic's value, or the return of the most likely response to the same prompt
(ReMax, arXiv:2310.10505).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from agents.agent import Agent
from agents.algorithms.actor_critic import (
    ActorCriticTargets,
    critic_advantages,
    critic_loss,
    values_of_decisions,
)
from agents.algorithms.group_advantages import check_terminated
from agents.algorithms.surrogate import policy_loss
from agents.math import discounted_returns, masked_mean, spread
from agents.policy import Policy, PolicyOutput
from agents.rollouts.collect import collect
from agents.rollouts.decisions import is_decision
from agents.rollouts.discounting import (
    DiscountedTerm,
    discounted_terms,
)
from agents.rollouts.kl_reward import learned_kl
from agents.settings.discount import Discount, value_names
from agents.settings.reinforce import ReinforceConfig
from rlhf_env.engine.language_model import LanguageModel
from rlhf_env.rollout import Rollout


@dataclass(frozen=True, kw_only=True)
class ReinforceTargets(ActorCriticTargets):
    """What REINFORCE aims at; ``values`` are the baselines."""

    baseline_tokens: Tensor
    """[B] one number for the rollout: tokens decoded for the baseline alone."""


@dataclass(frozen=True, kw_only=True)
class GreedyResponses:
    """The most likely responses to a rollout's prompts, paid as the rollout was."""

    episodes: Rollout
    """One for each different prompt."""
    row: Tensor
    """[B] which of them answers the prompt of each of the rollout's episodes."""

    def returns(self, gamma: Discount, unit: str) -> dict[str, Tensor]:
        """Return G_0 [B] under each discount, by name."""
        mask = is_decision(self.episodes)
        return {
            term.name: discounted_returns(term.rewards, mask, term.gamma)[:, 0][self.row]
            for term in discounted_terms(self.episodes, gamma, unit)
        }


@dataclass(frozen=True, kw_only=True)
class ReinforceAlgorithm:
    """Returns less a baseline, times the gradient of the log-probability."""

    config: ReinforceConfig
    """The settings."""
    decode_greedily: Callable[[Rollout], GreedyResponses]
    """Answers the prompts of a rollout, under the policy that made it."""

    @property
    def reads_old(self) -> bool:
        """Whether values or ratios are needed, or the update leaves the policy that acted."""
        config = self.config
        return config.baseline == "value" or config.corrects_sampler or not config.is_single_step

    def targets(
        self, rollout: Rollout, old: PolicyOutput, reference: LanguageModel
    ) -> ReinforceTargets:
        """Return returns less their baseline; see `Algorithm.targets`.

        Raises:
            ValueError: if an episode was truncated and the baseline is not a critic to bootstrap
                from.
        """
        config, mask = self.config, is_decision(rollout)
        if config.baseline != "value":
            check_terminated(rollout, f'Reinforce with baseline="{config.baseline}"')
        baselines, decoded = self._baselines(rollout, old, mask)
        last_values = old.last_term_values if config.baseline == "value" else None
        estimate = critic_advantages(rollout, baselines, last_values, config, gae_lambda=1.0)
        return ReinforceTargets.of(
            rollout,
            old,
            config,
            is_on_policy=config.is_single_step,
            **vars(estimate),
            baseline_tokens=torch.full(mask.shape[:-1], float(decoded), device=mask.device),
        )

    def loss(
        self, rollout: Rollout, new: PolicyOutput, old: PolicyOutput, targets: ReinforceTargets
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of each episode; see `Algorithm.loss`."""
        config = self.config
        loss, metrics = policy_loss(rollout, new, targets, config)
        metrics["explained_variance"] = targets.explained_variance
        metrics["baseline_tokens"] = targets.baseline_tokens
        if config.baseline == "value":
            metrics["value_loss"] = critic_loss(rollout, new, targets, clip_range=None)
            loss = loss + config.value_coef * metrics["value_loss"]
        return loss, metrics

    def _baselines(
        self, rollout: Rollout, old: PolicyOutput, mask: Tensor
    ) -> tuple[dict[str, Tensor], int]:
        """Return [B, D] baselines under each discount, and the tokens decoded for them."""
        terms = discounted_terms(rollout, self.config.gamma, self.config.discount_unit)
        if self.config.baseline == "value":
            return values_of_decisions(rollout, old, self.config.gamma), 0
        if self.config.baseline == "batch_mean":
            return {t.name: _mean_return(t, mask) for t in terms}, 0
        if self.config.baseline == "greedy":
            greedy = self.decode_greedily(rollout)
            check_terminated(greedy.episodes, 'Reinforce with baseline="greedy"')
            returns = greedy.returns(self.config.gamma, self.config.discount_unit)
            decoded = int(greedy.episodes.is_action.sum())
            return {k: v[:, None].expand(mask.shape) for k, v in returns.items()}, decoded
        return {t.name: torch.zeros(mask.shape, device=mask.device) for t in terms}, 0


class Reinforce(Agent):
    """REINFORCE with no baseline, the batch's mean, a value head, or the greedy response.

    Example:
        >>> envs = gym.make_vec("RLHF-v0", num_envs=32, task="toy15")  # doctest: +SKIP
        >>> Reinforce(envs, baseline="greedy").learn(total_episodes=4096)  # doctest: +SKIP
    """

    config: ReinforceConfig
    config_class = ReinforceConfig

    def greedy_responses(self, rollout: Rollout) -> GreedyResponses:
        """Return the most likely response to each prompt of a rollout, under the present policy.

        Rewards and KL are those that the rollout itself is learned from.
        """
        numbers: dict[tuple[int, ...], int] = {}
        rows = [numbers.setdefault(tuple(ids.tolist()), len(numbers)) for ids in rollout.prompts()]
        episodes = collect(
            self.envs,
            self.policy,
            len(numbers),
            prompts=[torch.tensor(ids) for ids in numbers],
            greedy=True,
            kl_coef=self.kl_coef,
        )
        episodes = learned_kl(episodes, self.config.kl_placement, self.config.kl_estimator)
        return GreedyResponses(
            episodes=episodes, row=torch.tensor(rows, device=rollout.tokens.device)
        )

    def _own_algorithm(self) -> ReinforceAlgorithm:
        return ReinforceAlgorithm(config=self.config, decode_greedily=self.greedy_responses)

    def _make_policy(self, model: nn.Module, **critic: Any) -> Policy:
        return super()._make_policy(model, value_names=value_names(self.config.gamma), **critic)


def _mean_return(term: DiscountedTerm, mask: Tensor) -> Tensor:
    """Return [B, D] the mean over all decisions of the return from each on."""
    returns = discounted_returns(term.rewards, mask, term.gamma)
    return spread(masked_mean(returns, mask), mask).expand(mask.shape)
