"""Soft Q-learning with the reference as prior, one decision at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from agents.off_policy.logit_values import LogitDecisions
from agents.off_policy.soft_values import soft_q_target
from agents.off_policy.target_network import TargetNetworkAgent
from agents.policy import PolicyOutput
from agents.settings.off_policy.values import SoftQConfig
from rlhf_env.engine.language_model import LanguageModel
from rlhf_env.rollout import Rollout


@dataclass(frozen=True, kw_only=True)
class SoftQTargets(LogitDecisions):
    """The decisions of a rollout, and what Q should be."""

    aims: Tensor
    """[B, D] r + γ V(s') by the target network."""


class SoftQAlgorithm:
    """[Q(s,a) − r − γ V'(s')]² with V(s) = beta log Σ_a pi_ref(a|s) exp(Q(s,a)/beta).

    V' is the target network's (soft Q-learning, arXiv:1702.08165, with pi_ref in place of
    the uniform prior).
    """

    reads_old = False

    def __init__(self, config: SoftQConfig, target: Callable[[], LanguageModel]) -> None:
        """Take the settings, and what returns the target network."""
        self.config = config
        self.target = target

    def targets(
        self, rollout: Rollout, old: PolicyOutput, reference: LanguageModel
    ) -> SoftQTargets:
        """Return what Q should be; see `Algorithm.targets`."""
        temperature = self.config.temperature
        paid = LogitDecisions.with_reference(rollout, "SoftQ", reference, temperature)
        following = paid.values_by(rollout, self.target(), temperature).soft
        aims = soft_q_target(paid.rewards, following, paid.mask, self.config.gamma)
        return SoftQTargets(**vars(paid), aims=aims)

    def loss(
        self, rollout: Rollout, new: PolicyOutput, old: PolicyOutput, targets: SoftQTargets
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of each episode; see `Algorithm.loss`."""
        values = targets.values_of(rollout, new)
        loss = targets.loss((values.q - targets.aims).square())
        return loss, {"q_loss": loss, "q_mean": targets.loss(values.q)}


class SoftQ(TargetNetworkAgent):
    """Soft Q-learning on tokens, from any episodes; see `SoftQAlgorithm`."""

    config_class = SoftQConfig

    def _own_algorithm(self) -> SoftQAlgorithm:
        assert isinstance(self.config, SoftQConfig)
        return SoftQAlgorithm(self.config, self.target_network)
