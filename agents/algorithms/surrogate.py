"""The clipped surrogate loss on decisions of any granularity, which all policy gradients share.

Each function returns one number per episode; the learner averages over the episodes of a minibatch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, Self

import torch
from torch import Tensor

from agents.algorithms.importance import ImportanceSettings, importance_weights
from agents.math import clipped_surrogate, is_clipped
from agents.math.aggregation import aggregation_weights, mean_over_decisions
from agents.policy import PolicyOutput
from agents.rollouts.decisions import is_decision, sum_per_decision
from agents.rollouts.kl_reward import KL_ESTIMATORS
from agents.settings.agent import AgentConfig
from agents.settings.clip import UNCLIPPED, Clip
from agents.settings.kl import KLControl
from rlhf_env.rollout import Rollout


class LossSettings(ImportanceSettings, Protocol):
    """Settings of agents that follow a policy gradient."""

    @property
    def kl(self) -> KLControl:
        """Where the KL is."""
        ...

    @property
    def corrects_sampler(self) -> bool:
        """Whether ratios to the sampler weigh the episodes."""
        ...

    @property
    def aggregation(self) -> str:
        """One of `agents.settings.policy_gradient.AGGREGATIONS`."""
        ...


@dataclass(frozen=True, kw_only=True)
class DecisionBatch:
    """The decisions of B episodes as they were taken, and what a policy gradient aims at."""

    logprobs: Tensor | None
    """[B, D] of the policy that acted; None where it is the one being trained."""

    ref_logprobs: Tensor
    """[B, D] of the reference."""

    kl_coef: Tensor
    """[B] weight of the KL in the loss; 0 where the rewards hold it."""

    mask: Tensor
    """[B, D] bool, where there is a decision."""

    mean_weight: Tensor
    """[B] B / (number of decisions): with it the mean over episodes is that over decisions."""

    advantages: Tensor
    """[B, D]."""

    weight: Tensor
    """[B] factor of an episode's sum over decisions; the learner then averages over episodes."""

    importance: Tensor | None = None
    """[B, D] weights of the decisions where another policy sampled them; None where all are 1."""

    is_limited: Tensor | None = None
    """[B, D] bool, where these weights are not the ratios; None likewise."""

    kept: Tensor | None = None
    """[B, D] 0 where a decision has no gradient (Clip-Cov), 1 elsewhere; None where all have."""

    restraint: Tensor | None = None
    """[B, D] weights of abs(log π/π_old) in the loss (KL-Cov); None where all are 0."""

    @classmethod
    def of(
        cls,
        rollout: Rollout,
        old: PolicyOutput,
        config: LossSettings,
        *,
        is_on_policy: bool = False,
        horizon: int | None = None,
        is_used: Tensor | None = None,
        **targets: Any,
    ) -> Self:
        """Return the decisions of a rollout with some targets.

        Args:
            rollout: B episodes.
            old: what the policy that acted predicts for them.
            config: whether the KL is in the loss, and how decisions are weighed.
            is_on_policy: the policy acts, learns one step, and acts again, so that all ratios
                are 1.
            horizon: T, where ``aggregation`` needs it.
            is_used: [B] bool, the episodes that count; all when None.
            **targets: ``advantages``, and the fields of a derived class.
        """
        mask = is_decision(rollout)
        acted = sum_per_decision(old.logprobs, rollout)
        importance = None
        if config.corrects_sampler:
            sampled = sum_per_decision(rollout.logprobs, rollout)
            importance = importance_weights(acted, sampled, mask, config)
        kl_coef = torch.zeros(mask.shape[:-1], device=mask.device)
        if config.kl.is_in_loss and rollout.kl_coef is not None:
            kl_coef = rollout.kl_coef
        return cls(
            logprobs=None if is_on_policy else acted,
            ref_logprobs=sum_per_decision(rollout.ref_logprobs, rollout),
            kl_coef=kl_coef,
            mask=mask,
            mean_weight=mean_over_decisions(mask),
            weight=aggregation_weights(config.aggregation, mask, is_used, horizon),
            importance=None if importance is None else importance.weights,
            is_limited=None if importance is None else importance.is_limited,
            **targets,
        )

    def of_decisions(self, logprobs: Tensor, rollout: Rollout) -> Tensor:
        """Return [b, D] log-probabilities of decisions from [b, L] of tokens."""
        return sum_per_decision(logprobs, rollout, self.mask.shape[1])

    def log_ratio(self, logprobs: Tensor) -> Tensor:
        """Return [b, D] log π/π_old with the gradient of log π, 0 where there is no decision."""
        acted = logprobs.detach() if self.logprobs is None else self.logprobs
        return (logprobs - acted).masked_fill(~self.mask, 0.0)

    def weighted_sum(self, values: Tensor) -> Tensor:
        """Return [b] sums of [b, D] over each episode's decisions, as the loss weighs them."""
        if self.importance is not None:
            values = values * self.importance
        return values.masked_fill(~self.mask, 0.0).sum(dim=1) * self.weight

    def mean_part(self, values: Tensor) -> Tensor:
        """Return [b] parts of each episode in the mean of [b, D] over all decisions."""
        return values.masked_fill(~self.mask, 0.0).sum(dim=1) * self.mean_weight


# The squares of 10^8 decisions can be added up in float32.
_LARGEST_RETURN = 1e15


def check_squarable(rollout: Rollout) -> None:
    """Refuse rewards whose squares overflow: variances and losses would be inf.

    Raises:
        ValueError: if the rewards of an episode add up to more than 1e15 in size.
    """
    largest = float(rollout.rewards.abs().sum(dim=-1).max())
    if largest > _LARGEST_RETURN:
        raise ValueError(
            f"the rewards of an episode must add up to at most {_LARGEST_RETURN:g} in size, "
            f"because squares of larger returns overflow in float32, got {largest:g}; scale the "
            "reward down"
        )


def policy_loss(
    rollout: Rollout,
    new: PolicyOutput,
    targets: DecisionBatch,
    config: AgentConfig,
    clip: Clip = UNCLIPPED,
    *,
    ratio: str = "decision",
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the surrogate of each episode, plus the KL where the loss holds it.

    Args:
        rollout: b episodes.
        new: what the policy being trained predicts for them, with gradient.
        targets: the same rows.
        config: the estimator of the KL.
        clip: of the ratio.
        ratio: of each "decision", or of the whole "episode".

    Returns:
        [b] losses, and the diagnostics of `surrogate_loss`; where another policy sampled,
        ``importance_max`` and ``importance_limited``, the share of decisions whose ratio was cut.
    """
    logprobs = targets.of_decisions(new.logprobs, rollout)
    loss, metrics = surrogate_loss(logprobs, targets, clip, ratio=ratio)
    if targets.importance is not None and targets.is_limited is not None:
        metrics["importance_max"] = targets.importance.amax(dim=1)
        metrics["importance_limited"] = targets.mean_part(targets.is_limited.to(loss.dtype))
    return loss + kl_loss(logprobs, targets, config), metrics


def kl_loss(logprobs: Tensor, targets: DecisionBatch, config: AgentConfig) -> Tensor:
    """Return what the KL adds to the loss of each episode, [b]; 0 where the reward holds it.

    Args:
        logprobs: [b, D] of the policy being trained, with gradient.
        targets: the same rows.
        config: names the estimator, and whether it is weighed by the ratio of probabilities.
    """
    estimate = KL_ESTIMATORS[config.kl.estimator](logprobs, targets.ref_logprobs)
    if config.kl.importance_ratio:
        estimate = estimate * targets.log_ratio(logprobs).clamp(-20.0, 20.0).exp()
    return targets.kl_coef * targets.weighted_sum(estimate)


def mean_log_ratio(log_ratio: Tensor, mask: Tensor) -> Tensor:
    """Give every decision the mean of its episode's log-ratios, [b, D]; 0 outside the mask.

    The ratio is then that of the whole episode, to the power of 1/length (GSPO,
    arXiv:2507.18071).
    """
    mean = log_ratio.masked_fill(~mask, 0.0).sum(dim=1) / mask.sum(dim=1).clamp(min=1)
    return mean[:, None].expand(mask.shape).masked_fill(~mask, 0.0)


def surrogate_loss(
    logprobs: Tensor,
    targets: DecisionBatch,
    clip: Clip,
    *,
    ratio: str = "decision",
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the clipped surrogate of each episode and its diagnostics.

    Args:
        logprobs: [b, D] of the policy being trained, with gradient.
        targets: the same rows.
        clip: of the ratio.
        ratio: of each "decision", or of the whole "episode": see `mean_log_ratio`.

    Returns:
        [b] losses, and [b] each of ``policy_loss``, ``clip_fraction``, ``approx_kl``
        (½ log² ratio, the KL between the policies of this update) and ``ratio_max``.
    """
    log_ratio = targets.log_ratio(logprobs)
    if ratio == "episode":
        log_ratio = mean_log_ratio(log_ratio, targets.mask)
    each = clipped_surrogate(log_ratio, targets.advantages, *clip)
    if targets.kept is not None:
        each = each * targets.kept
    if targets.restraint is not None:
        each = each + targets.restraint * log_ratio.abs()
    loss = targets.weighted_sum(each)
    clipped = is_clipped(log_ratio, targets.advantages, *clip)
    metrics = {
        "policy_loss": loss,
        "clip_fraction": targets.mean_part(clipped.to(loss.dtype)),
        "approx_kl": targets.mean_part(0.5 * log_ratio.square()),
        "ratio_max": log_ratio.exp().amax(dim=1),
    }
    return loss, metrics
