"""REINFORCE with a leave-one-out baseline (arXiv:2402.14740) on decisions of any granularity.

The mean return of the other responses to a prompt is the baseline of each: independent of it, so
that the gradient is unbiased, and without a critic.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from torch import Tensor

from agents.agent import Agent
from agents.algorithms.group_advantages import GroupTargets, check_terminated, group_advantages
from agents.algorithms.surrogate import policy_loss
from agents.math import leave_one_out, whiten
from agents.policy import PolicyOutput
from agents.settings.group import RLOOConfig
from rlhf_env.engine.language_model import LanguageModel
from rlhf_env.rollout import Rollout


@dataclass(frozen=True)
class RLOOAlgorithm:
    """Leave-one-out returns and the surrogate, clipped or not."""

    config: RLOOConfig

    @property
    def reads_old(self) -> bool:
        """Whether the update leaves the policy that acted; see `Algorithm`."""
        return self.config.corrects_sampler or not self.config.is_single_step

    def targets(
        self, rollout: Rollout, old: PolicyOutput, reference: LanguageModel
    ) -> GroupTargets:
        """Return A_i = R_i − mean{R_j : j ≠ i} of each group; see `Algorithm.targets`.

        Raises:
            ValueError: if an episode was truncated: without a critic there is nothing to
                bootstrap from.
        """
        check_terminated(rollout, "RLOO")
        targets = group_advantages(rollout, old, self.config, leave_one_out)
        if not self.config.whiten_advantages:
            return targets
        whitened = whiten(targets.advantages, targets.mask)
        return dataclasses.replace(targets, advantages=whitened)

    def loss(
        self, rollout: Rollout, new: PolicyOutput, old: PolicyOutput, targets: GroupTargets
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of each episode; see `Algorithm.loss`."""
        loss, metrics = policy_loss(rollout, new, targets, self.config, self.config.clip)
        return loss, metrics | {"frac_reward_zero_std": targets.frac_reward_zero_std}


class RLOO(Agent):
    """REINFORCE leave-one-out: the other responses to a prompt are the baseline of each.

    Example:
        >>> envs = gym.make_vec("RLHF-v0", num_envs=32, task="toy15")  # doctest: +SKIP
        >>> RLOO(envs, group_size=4).learn(total_episodes=4096)  # doctest: +SKIP
    """

    config: RLOOConfig
    config_class = RLOOConfig
    algorithm_class = RLOOAlgorithm
