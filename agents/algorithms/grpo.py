"""Group relative policy optimisation (arXiv:2402.03300) on decisions of any granularity.

Several responses to one prompt are each other's baseline; there is no critic. `DrGRPO`, `DAPO`
and `GSPO` are the same rule with other settings.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from agents.agent import Agent
from agents.algorithms.group_returns import (
    GroupTargets,
    are_equal,
    check_terminated,
    decision_advantages,
)
from agents.algorithms.surrogate import (
    decisions_of,
    kl_loss,
    mean_over_decisions,
    surrogate_loss,
)
from agents.math import group_centered, group_deviation
from agents.policy import PolicyOutput
from agents.rollouts.discounting import returns_to_go
from agents.settings.group import DAPOConfig, DrGRPOConfig, GRPOConfig, GSPOConfig
from rlhf_env.engine.language_model import LanguageModel
from rlhf_env.rollout import Rollout, join


@dataclass(frozen=True, kw_only=True)
class GRPOAlgorithm:
    """Group-relative returns and the clipped surrogate.

    Attributes:
        config: the settings.
        horizon: T, the most tokens of a response.
        eos_id: what a finished response ends with.
    """

    config: GRPOConfig
    horizon: int
    eos_id: int

    @property
    def reads_old(self) -> bool:
        """Whether the update leaves the policy that acted; see `Algorithm`."""
        return not self.config.is_single_step

    def targets(
        self, rollout: Rollout, old: PolicyOutput, reference: LanguageModel
    ) -> GroupTargets:
        """Return advantages within groups; see `Algorithm.targets`.

        Raises:
            ValueError: if an episode was truncated: without a critic there is nothing to
                bootstrap from.
        """
        check_terminated(rollout, "GRPO")
        decisions = decisions_of(rollout, old, self.config, is_on_policy=not self.reads_old)
        mask, group = decisions["mask"], rollout.group
        to_go = returns_to_go(rollout, mask, self.config.gamma)
        returns = to_go[:, 0]
        is_scaled = self.config.scale_by_std
        scale = group_deviation(returns, group) if is_scaled else torch.ones_like(returns)
        per_episode = group_centered(returns, group) / scale
        return GroupTargets(
            **decisions,
            advantages=decision_advantages(
                per_episode, to_go, mask, self.config.gradient_form, scale
            ),
            weight=self._weights(rollout, mask),
            frac_reward_zero_std=are_equal(returns, group),
        )

    def loss(
        self, rollout: Rollout, new: PolicyOutput, old: PolicyOutput, targets: GroupTargets
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of each episode; see `Algorithm.loss`."""
        config = self.config
        high = config.clip_range if config.clip_range_high is None else config.clip_range_high
        logprobs = targets.of_decisions(new.logprobs, rollout)
        loss, metrics = surrogate_loss(
            logprobs, targets, config.clip_range, high, ratio=config.ratio
        )
        loss = loss + kl_loss(logprobs, targets, config)
        return loss, metrics | {"frac_reward_zero_std": targets.frac_reward_zero_std}

    def _weights(self, rollout: Rollout, mask: Tensor) -> Tensor:
        """[B] what each episode's sum over decisions counts in the mean over episodes."""
        finished = rollout.tokens[rollout.last_action] == self.eos_id
        used = finished if self.config.skip_unfinished else torch.ones_like(finished)
        if not used.any():
            warnings.warn(
                "no response of this rollout is finished, so skip_unfinished leaves nothing to "
                "learn from; raise max_new_tokens",
                stacklevel=2,
            )
            return torch.zeros(len(rollout), device=mask.device)
        if self.config.aggregation == "decision_mean":
            return used * mean_over_decisions(mask & used[:, None])
        per_episode = torch.full_like(rollout.score, float(self.horizon))
        if self.config.aggregation == "episode_mean":
            per_episode = mask.sum(dim=1).to(rollout.score)
        return used / per_episode * (len(rollout) / used.sum())


class GRPO(Agent):
    """Group relative policy optimisation: the other responses to a prompt are the baseline.

    Example:
        >>> envs = gym.make_vec("RLHF-v0", num_envs=32, task="toy15")  # doctest: +SKIP
        >>> GRPO(envs, group_size=8).learn(total_episodes=4096)  # doctest: +SKIP
    """

    config: GRPOConfig
    config_class = GRPOConfig
    algorithm_class = GRPOAlgorithm

    def collect(self) -> Rollout:
        """Return the rollout of the next update.

        Under ``dynamic_sampling`` groups of equal scores give way to those of further draws, up
        to ``max_draws``; what is missing then is filled up with them, and said in a warning.
        """
        rollout = super().collect()
        draws = 1
        while self.config.dynamic_sampling and draws < self.config.max_draws:
            if not are_equal(rollout.score, rollout.group).any():
                return rollout
            rollout = self._with_varied_groups(rollout, self.resample(draws))
            draws += 1
        equal = int(are_equal(rollout.score, rollout.group).sum()) // self.config.group_size
        if self.config.dynamic_sampling and equal:
            warnings.warn(
                f"after {draws} draws {equal} of {len(rollout) // self.config.group_size} groups "
                "still have equal scores and teach nothing; raise max_draws, or use a reward "
                "that tells the responses apart",
                stacklevel=2,
            )
        return rollout

    def _with_varied_groups(self, rollout: Rollout, other: Rollout) -> Rollout:
        """Return as many episodes as before, those of groups with different scores first."""
        both = join([rollout, other], self.base.task.pad_id)
        order = are_equal(both.score, both.group).sort(stable=True).indices
        return both.take(order[: len(rollout)])

    def _own_algorithm(self) -> GRPOAlgorithm:
        mdp = self.base.mdp
        return GRPOAlgorithm(config=self.config, horizon=mdp.max_new_tokens, eos_id=mdp.task.eos_id)


class DrGRPO(GRPO):
    """GRPO done right: neither easy prompts nor short responses weigh more."""

    config_class = DrGRPOConfig


class DAPO(GRPO):
    """Decoupled clip and dynamic sampling policy optimisation."""

    config_class = DAPOConfig


class GSPO(GRPO):
    """Group sequence policy optimisation."""

    config_class = GSPOConfig
