"""The clipped surrogate of an update, per episode, with the figures that tell how it went."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from agents.config import AgentConfig
from agents.math import clipped_surrogate, is_clipped
from agents.policy import PolicyOutput
from agents.rollouts.decisions import is_decision, sum_per_decision
from agents.rollouts.kl_reward import KL_ESTIMATORS
from rlhf_env.rollout import Rollout


@dataclass(frozen=True, kw_only=True)
class Decisions:
    """The decisions of some episodes, as they were taken.

    Attributes:
        logprobs: [B, D] of the policy that acted; None where it is the one being trained.
        ref_logprobs: [B, D] of the reference.
        kl_coef: [B] weight of the KL in the loss; 0 where it stands in the reward.
        mask: [B, D] bool, where there is a decision.
        share: [B] B / (number of decisions), under which the mean over episodes is that over
            decisions.
    """

    logprobs: Tensor | None
    ref_logprobs: Tensor
    kl_coef: Tensor
    mask: Tensor
    share: Tensor


def decisions_of(
    rollout: Rollout, old: PolicyOutput, config: AgentConfig, *, is_on_policy: bool = False
) -> dict[str, Any]:
    """Return the fields of `Decisions` of a rollout.

    Args:
        rollout: B episodes.
        old: what the policy that acted says about them.
        config: says whether the KL stands in the loss.
        is_on_policy: the policy acts, learns one step, and acts again, so that all ratios are 1.
    """
    kl_coef = torch.zeros(len(rollout), device=rollout.tokens.device)
    if config.kl_placement == "loss" and rollout.kl_coef is not None:
        kl_coef = rollout.kl_coef
    mask = is_decision(rollout)
    return {
        "logprobs": None if is_on_policy else sum_per_decision(old.logprobs, rollout),
        "ref_logprobs": sum_per_decision(rollout.ref_logprobs, rollout),
        "kl_coef": kl_coef,
        "mask": mask,
        "share": mean_over_decisions(mask),
    }


@dataclass(frozen=True, kw_only=True)
class SurrogateTargets(Decisions):
    """What a policy gradient aims at, beside `Decisions`.

    Attributes:
        advantages: [B, D].
        weight: [B] what an episode's sum over decisions is multiplied with; the learner then
            averages over episodes.
    """

    advantages: Tensor
    weight: Tensor

    def log_ratio(self, logprobs: Tensor) -> Tensor:
        """[b, D] log π/π_old with the gradient of log π, 0 where there is no decision."""
        acted = logprobs.detach() if self.logprobs is None else self.logprobs
        return (logprobs - acted).masked_fill(~self.mask, 0.0)

    def of_decisions(self, logprobs: Tensor, rollout: Rollout) -> Tensor:
        """Return [b, D] log-probabilities of decisions from [b, L] of tokens."""
        return sum_per_decision(logprobs, rollout, self.mask.shape[1])

    def episode_sums(self, values: Tensor) -> Tensor:
        """[b] weighted sums of [b, D] over each episode's decisions, as the loss weighs them."""
        return values.masked_fill(~self.mask, 0.0).sum(dim=1) * self.weight

    def episode_shares(self, values: Tensor) -> Tensor:
        """[b] what each episode adds to the mean of [b, D] over all decisions, for figures."""
        return values.masked_fill(~self.mask, 0.0).sum(dim=1) * self.share


def mean_over_decisions(mask: Tensor) -> Tensor:
    """Return the [B] weights under which the mean over episodes is the mean over decisions."""
    return (mask.shape[0] / mask.sum()).expand(mask.shape[0])


def kl_loss(logprobs: Tensor, targets: SurrogateTargets, config: AgentConfig) -> Tensor:
    """Return what the KL adds to the loss of each episode, [b]; 0 where the reward holds it.

    Args:
        logprobs: [b, D] of the policy being trained, with gradient.
        targets: the same rows.
        config: names the estimator, and whether it is weighed by the ratio of probabilities.
    """
    estimate = KL_ESTIMATORS[config.kl_estimator](logprobs, targets.ref_logprobs)
    if config.kl_importance_ratio:
        estimate = estimate * targets.log_ratio(logprobs).clamp(-20.0, 20.0).exp()
    return targets.kl_coef * targets.episode_sums(estimate)


def mean_log_ratio(log_ratio: Tensor, mask: Tensor) -> Tensor:
    """Give every decision the mean of its episode's log-ratios, [b, D]; 0 outside the mask.

    The ratio is then that of the whole episode, to the power of 1/length (GSPO,
    arXiv:2507.18071).
    """
    mean = log_ratio.masked_fill(~mask, 0.0).sum(dim=1) / mask.sum(dim=1).clamp(min=1)
    return mean[:, None].expand(mask.shape).masked_fill(~mask, 0.0)


def surrogate_loss(
    logprobs: Tensor,
    targets: SurrogateTargets,
    clip_low: float,
    clip_high: float,
    *,
    ratio: str = "decision",
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the clipped surrogate of each episode and its diagnostics.

    Args:
        logprobs: [b, D] of the policy being trained, with gradient.
        targets: the same rows.
        clip_low: epsilon below 1.
        clip_high: epsilon above 1.
        ratio: of each "decision", or of the whole "episode": see `mean_log_ratio`.

    Returns:
        [b] losses, and [b] each of ``policy_loss``, ``clip_fraction``, ``approx_kl``
        (½ log² ratio, the KL between the policies of this update) and ``ratio_max``.
    """
    log_ratio = targets.log_ratio(logprobs)
    if ratio == "episode":
        log_ratio = mean_log_ratio(log_ratio, targets.mask)
    loss = targets.episode_sums(
        clipped_surrogate(log_ratio, targets.advantages, clip_low, clip_high)
    )
    clipped = is_clipped(log_ratio, targets.advantages, clip_low, clip_high)
    metrics = {
        "policy_loss": loss,
        "clip_fraction": targets.episode_shares(clipped.to(loss.dtype)),
        "approx_kl": targets.episode_shares(0.5 * log_ratio.square()),
        "ratio_max": log_ratio.exp().amax(dim=1),
    }
    return loss, metrics
