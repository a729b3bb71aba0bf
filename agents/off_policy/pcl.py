"""PCL: the soft Bellman equation of every sub-path, for a policy and a value head."""

from __future__ import annotations

import torch
from torch import Tensor

from agents.off_policy.agent import OffPolicyAgent
from agents.off_policy.paid_decisions import PaidDecisions
from agents.off_policy.residuals import path_residuals, soft_gains, sub_path_residuals
from agents.policy import PolicyOutput
from agents.rollouts.decisions import first_of_decision
from agents.settings.off_policy import PCLConfig
from rlhf_env.engine.language_model import LanguageModel
from rlhf_env.rollout import Rollout


class PCLAlgorithm:
    """Half the squared residuals of sub-paths, with a gradient in the policy and in both values.

    They are summed over an episode's paths. In arXiv:1702.08892 the entropy of the policy is in the
    place of its KL to the reference.
    """

    reads_old = False

    def __init__(self, config: PCLConfig) -> None:
        """Take the settings."""
        self.config = config

    def targets(
        self, rollout: Rollout, old: PolicyOutput, reference: LanguageModel
    ) -> PaidDecisions:
        """Return what the decisions are paid; see `Algorithm.targets`."""
        return PaidDecisions.of(rollout, "PCL", needs_whole=False)

    def loss(
        self, rollout: Rollout, new: PolicyOutput, old: PolicyOutput, targets: PaidDecisions
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of each episode; see `Algorithm.loss`."""
        mask, length = targets.mask, self.config.path_length
        values = first_of_decision(self._scaled(new.values), rollout, mask.shape[1])
        last = torch.where(rollout.terminated, 0.0, self._scaled(new.last_values))
        log_ratio = targets.log_ratio(rollout, new)
        gains = soft_gains(targets.rewards, log_ratio, mask, targets.kl_coef)
        path = values, last, gains, mask, self.config.gamma
        if length is None:
            residuals, is_path = sub_path_residuals(*path)
            squared, count = residuals.square().sum(dim=(1, 2)), is_path.sum(dim=(1, 2))
        else:
            squared, count = path_residuals(*path, length).square().sum(dim=1), mask.sum(dim=1)
        return 0.5 * squared, {"squared_residual": squared / count, "value": targets.mean(values)}

    def _scaled(self, values: Tensor) -> Tensor:
        """Return the same values with a gradient that ``value_coef`` scales."""
        weight = self.config.value_coef
        return values if weight == 1.0 else values.detach().lerp(values, weight)


class PCL(OffPolicyAgent):
    """Path consistency learning from episodes of any policy; see `PCLAlgorithm`.

    Example:
        >>> envs = gym.make_vec("RLHF-v0", num_envs=32, task="toy15")  # doctest: +SKIP
        >>> PCL(envs, replay=Replay(2048, ratio=8)).learn(total_episodes=1024)  # doctest: +SKIP
    """

    config_class = PCLConfig
    algorithm_class = PCLAlgorithm
