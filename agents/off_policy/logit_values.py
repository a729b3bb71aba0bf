"""Soft Q values as logits: what a model's logits say of the decisions of finished episodes."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from agents.math.aggregation import mean_over_decisions
from agents.off_policy.paid_decisions import PaidDecisions
from agents.policy import PolicyOutput
from agents.rollouts.decisions import first_of_decision
from rlhf_env.engine.language_model import LanguageModel
from rlhf_env.engine.scoring import rollout_log_normalizers, score_rollout
from rlhf_env.rollout import Rollout


@dataclass(frozen=True, kw_only=True)
class LogitValues:
    """Values of B episodes of D decisions, in units of the reward."""

    soft: Tensor
    """[B, D] V(s) = beta (log Σ_a exp z(s,a) − log Σ_a exp z_ref(s,a))."""
    q: Tensor
    """[B, D] Q(s,a) = V(s) + beta log(pi/pi_ref)(a|s)."""


@dataclass(frozen=True, kw_only=True)
class LogitDecisions(PaidDecisions):
    """Decisions that were paid, and what the reference's logits add up to in their states."""

    reference_normalizers: Tensor
    """[B, D] log Σ_a exp z_ref(s,a) of the state of each decision."""
    weight: Tensor
    """[B] under which the mean over episodes is the mean over decisions."""

    @classmethod
    def with_reference(
        cls, rollout: Rollout, agent: str, reference: LanguageModel, temperature: float
    ) -> LogitDecisions:
        """Return the decisions of a rollout; see `PaidDecisions.of`."""
        paid = PaidDecisions.of(rollout, agent)
        return LogitDecisions(
            **vars(paid),
            reference_normalizers=normalizers_of(reference, rollout, temperature),
            weight=mean_over_decisions(paid.mask),
        )

    def values(self, rollout: Rollout, logprobs: Tensor, normalizers: Tensor) -> LogitValues:
        """Return the values that a model's logits stand for.

        Args:
            rollout: the episodes.
            logprobs: [B, L] log pi of their tokens.
            normalizers: [B, D] log Σ_a exp z(s,a) of the states of their decisions.
        """
        beta = self.kl_coef[:, None]
        soft = beta * (normalizers - self.reference_normalizers)
        log_ratio = self.per_decision(logprobs - rollout.ref_logprobs, rollout)
        return LogitValues(soft=soft, q=soft + beta * log_ratio)

    def values_of(self, rollout: Rollout, new: PolicyOutput) -> LogitValues:
        """Return the values of the policy being trained, with gradient."""
        assert new.log_normalizer is not None
        width = self.mask.shape[1]
        normalizers = first_of_decision(new.log_normalizer, rollout, width)
        return self.values(rollout, new.logprobs, normalizers)

    def values_by(self, rollout: Rollout, model: LanguageModel, temperature: float) -> LogitValues:
        """Return the values of another model, without gradient."""
        tokens, is_action = rollout.tokens, rollout.is_action
        logprobs = score_rollout(model, tokens, is_action, temperature)
        return self.values(rollout, logprobs, normalizers_of(model, rollout, temperature))

    def loss(self, errors: Tensor) -> Tensor:
        """Return [B] losses whose mean is that of all decisions' errors, [B, D]."""
        return self.weight * errors.masked_fill(~self.mask, 0.0).sum(dim=1)


def normalizers_of(model: LanguageModel, rollout: Rollout, temperature: float) -> Tensor:
    """Return log Σ_a exp(z(s,a) / temperature) of the state of each decision, [B, D]."""
    found = rollout_log_normalizers(model, rollout.tokens, rollout.is_action, temperature)
    return first_of_decision(found, rollout)
