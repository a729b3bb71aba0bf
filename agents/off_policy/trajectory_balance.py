"""Trajectory balance: log Z and the log-ratio of a response explain its reward."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from agents.off_policy.agent import OffPolicyAgent
from agents.off_policy.paid_decisions import PaidDecisions, at_prompt
from agents.off_policy.residuals import group_log_z, trajectory_residuals
from agents.policy import PolicyOutput
from agents.settings.off_policy import TrajectoryBalanceConfig
from rlhf_env.engine.language_model import LanguageModel
from rlhf_env.rollout import Rollout


@dataclass(frozen=True, kw_only=True)
class TrajectoryBalanceTargets(PaidDecisions):
    """What the decisions are paid, and the log Z of the group."""

    log_z: Tensor
    """[B] in nats; 0 where it is learned."""


class TrajectoryBalanceAlgorithm:
    """[log Z + log(pi/pi_ref)(y|x) − r/beta]².

    As the mean of a group log Z has no gradient (TBA, arXiv:2503.18929; ``tba_trainer_tldr.py`` in
    the authors' code); it is that of the policy at the beginning of the update. Where it is learned
    it is V(s_1)/beta of the value head.
    """

    def __init__(self, config: TrajectoryBalanceConfig) -> None:
        """Take the settings."""
        self.config = config

    @property
    def reads_old(self) -> bool:
        """Whether log Z is of what the policy says before the update."""
        return self.config.log_z == "group"

    def targets(
        self, rollout: Rollout, old: PolicyOutput, reference: LanguageModel
    ) -> TrajectoryBalanceTargets:
        """Return what the decisions are paid, and log Z; see `Algorithm.targets`.

        Raises:
            ValueError: if a group holds a single episode.
        """
        paid = PaidDecisions.of(rollout, "TrajectoryBalance")
        log_z = torch.zeros_like(paid.kl_coef)
        if self.config.log_z == "group":
            log_z = group_log_z(self._residuals(paid, rollout, old), rollout.group)
        return TrajectoryBalanceTargets(**vars(paid), log_z=log_z)

    def loss(
        self,
        rollout: Rollout,
        new: PolicyOutput,
        old: PolicyOutput,
        targets: TrajectoryBalanceTargets,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of each episode; see `Algorithm.loss`."""
        log_z = targets.log_z
        if self.config.log_z == "learned":
            log_z = at_prompt(new.values, rollout) / targets.kl_coef
        loss = (log_z + self._residuals(targets, rollout, new)).square()
        return loss, {"squared_residual": loss, "log_z": log_z}

    def _residuals(self, paid: PaidDecisions, rollout: Rollout, said: PolicyOutput) -> Tensor:
        ratio = paid.log_ratio(rollout, said)
        return trajectory_residuals(paid.rewards, ratio, paid.mask, paid.kl_coef, self.config.gamma)


class TrajectoryBalance(OffPolicyAgent):
    """Trajectory balance from episodes of any policy; see `TrajectoryBalanceAlgorithm`.

    Example:
        >>> envs = gym.make_vec("RLHF-v0", num_envs=32, task="toy15")  # doctest: +SKIP
        >>> TrajectoryBalance(envs, log_z="learned").learn(total_episodes=4096)  # doctest: +SKIP
    """

    config_class = TrajectoryBalanceConfig
    algorithm_class = TrajectoryBalanceAlgorithm
