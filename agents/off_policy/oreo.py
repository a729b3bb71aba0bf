"""OREO: the soft Bellman equation of every suffix, for a policy and a value of their own."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from agents.math.aggregation import aggregation_weights
from agents.off_policy.agent import OffPolicyAgent
from agents.off_policy.paid_decisions import PaidDecisions
from agents.off_policy.soft_values import suffix_residuals
from agents.policy import PolicyOutput
from agents.rollouts.decisions import first_of_decision
from agents.settings.off_policy.values import OREOConfig
from rlhf_env.engine.language_model import LanguageModel
from rlhf_env.kl import k3
from rlhf_env.rollout import Rollout


@dataclass(frozen=True, kw_only=True)
class OREOTargets(PaidDecisions):
    """What the decisions are paid, and how much they count."""

    weight: Tensor
    """[B] factor of an episode's sum over decisions; the learner then averages over episodes."""


class OREOAlgorithm:
    """Two losses on the residual V(s_t) − Σ_{i≥t} γ^{i−t} (r_i − beta log(pi/pi_ref)), squared.

    That of the value holds the policy fixed. That of the policy holds the value fixed, and the
    log-ratios of later decisions (arXiv:2412.16145; ``dro_actor_loss`` in the authors' code). So
    each is a regression on what follows a state, or a token in it, and stands still at (pi*, V*)
    where the environment answers by chance too, whoever sampled: as long as no state counts more
    because of what follows it, as under the authors' mean over the decisions of an episode.
    """

    reads_old = False

    def __init__(self, config: OREOConfig) -> None:
        """Take the settings."""
        self.config = config

    def targets(self, rollout: Rollout, old: PolicyOutput, reference: LanguageModel) -> OREOTargets:
        """Return what the decisions are paid, and their weights; see `Algorithm.targets`."""
        paid = PaidDecisions.of(rollout, "OREO")
        weight = aggregation_weights(self.config.aggregation, paid.mask)
        return OREOTargets(**vars(paid), weight=weight)

    def loss(
        self, rollout: Rollout, new: PolicyOutput, old: PolicyOutput, targets: OREOTargets
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of each episode; see `Algorithm.loss`."""
        log_ratio = targets.log_ratio(rollout, new)
        values = first_of_decision(new.values, rollout, targets.mask.shape[1])
        policy_loss = self._squared(targets, values.detach(), log_ratio)
        value_loss = self._squared(targets, values, log_ratio.detach())
        kl = k3(new.logprobs, rollout.ref_logprobs).masked_fill(~rollout.is_action, 0.0)
        kl = targets.weight * kl.sum(dim=1)
        loss = policy_loss + self.config.value_coef * value_loss + self.config.kl_reg * kl
        return loss, {"policy_loss": policy_loss, "value_loss": value_loss}

    def _squared(self, targets: OREOTargets, values: Tensor, log_ratio: Tensor) -> Tensor:
        residuals = suffix_residuals(
            values,
            targets.rewards,
            log_ratio,
            targets.mask,
            targets.kl_coef,
            self.config.gamma,
            holds_later=True,
        )
        return targets.weight * residuals.square().sum(dim=1)


class OREO(OffPolicyAgent):
    """Offline reasoning optimization: soft values and policy from any episodes.

    Its value head is trained to V*, of the state of each decision. See `OREOAlgorithm`.
    """

    config_class = OREOConfig
    algorithm_class = OREOAlgorithm
