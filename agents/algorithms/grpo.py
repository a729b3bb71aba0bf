"""Group relative policy optimization (arXiv:2402.03300) on decisions of any granularity.

Several responses to one prompt are each other's baseline; there is no critic. `DrGRPO`, `DAPO`
and `GSPO` are the same rule with other settings.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from agents.agent import Agent
from agents.algorithms.dynamic_sampling import sample_dynamically
from agents.algorithms.group_advantages import (
    GroupTargets,
    check_terminated,
    finished_responses,
    group_advantages,
)
from agents.algorithms.surrogate import policy_loss
from agents.math import group_centered, group_deviation
from agents.policy import PolicyOutput
from agents.settings.group import DAPOConfig, DrGRPOConfig, GRPOConfig, GSPOConfig
from rlhf_env.engine.language_model import LanguageModel
from rlhf_env.rollout import Rollout


@dataclass(frozen=True, kw_only=True)
class GRPOAlgorithm:
    """Group-relative returns and the clipped surrogate."""

    config: GRPOConfig
    """The settings."""

    horizon: int
    """T, the most tokens of a response."""

    eos_id: int
    """What a finished response ends with."""

    turn_end_id: int | None = None
    """What finishes a conversation too, where nothing is answered; None in single turns."""

    @property
    def reads_old(self) -> bool:
        """Whether the update leaves the policy that acted; see `Algorithm`."""
        return self.config.corrects_sampler or not self.config.is_single_step

    def targets(
        self, rollout: Rollout, old: PolicyOutput, reference: LanguageModel
    ) -> GroupTargets:
        """Return A_i = (R_i − mean) / std of each group; see `Algorithm.targets`.

        Raises:
            ValueError: if an episode was truncated: without a critic there is nothing to
                bootstrap from.
        """
        check_terminated(rollout, "GRPO")
        config = self.config
        scale = group_deviation if config.scale_by_std else None
        endings = [self.eos_id] if self.turn_end_id is None else [self.eos_id, self.turn_end_id]
        is_used = finished_responses(rollout, endings) if config.skip_unfinished else None
        return group_advantages(
            rollout, old, config, group_centered, scale, horizon=self.horizon, is_used=is_used
        )

    def loss(
        self, rollout: Rollout, new: PolicyOutput, old: PolicyOutput, targets: GroupTargets
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return −min(ρ A, clip(ρ) A) + β KL of each episode; see `Algorithm.loss`."""
        config = self.config
        loss, metrics = policy_loss(rollout, new, targets, config, config.clip, ratio=config.ratio)
        return loss, metrics | {"frac_reward_zero_std": targets.frac_reward_zero_std}


class GRPO(Agent):
    """Group relative policy optimization: the other responses to a prompt are the baseline.

    Example:
        >>> envs = gym.make_vec("RLHF-v0", num_envs=32, task="toy15")  # doctest: +SKIP
        >>> GRPO(envs, group_size=8).learn(total_episodes=4096)  # doctest: +SKIP
    """

    config: GRPOConfig
    config_class = GRPOConfig
    algorithm_class = GRPOAlgorithm

    def collect(self) -> Rollout:
        """Return the rollout of the next update, of several draws under ``dynamic_sampling``."""
        rollout = super().collect()
        if not self.config.dynamic_sampling:
            return rollout
        return sample_dynamically(rollout, self.resample, self.config, self.base.task.pad_id)

    def _own_algorithm(self) -> GRPOAlgorithm:
        mdp = self.base.mdp
        return GRPOAlgorithm(
            config=self.config,
            horizon=mdp.max_new_tokens,
            eos_id=mdp.task.eos_id,
            turn_end_id=None if mdp.task.respond is None else mdp.task.turn_end_id,
        )


class DrGRPO(GRPO):
    """GRPO done right: neither easy prompts nor short responses weigh more."""

    config_class = DrGRPOConfig


class DAPO(GRPO):
    """Decoupled clip and dynamic sampling policy optimization."""

    config_class = DAPOConfig


class GSPO(GRPO):
    """Group sequence policy optimization."""

    config_class = GSPOConfig
