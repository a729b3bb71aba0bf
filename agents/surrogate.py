"""The clipped surrogate of an update, per episode, with the figures that tell how it went."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from agents.math import clipped_surrogate, is_clipped


@dataclass(frozen=True, kw_only=True)
class SurrogateTargets:
    """What a clipped policy gradient aims at.

    Attributes:
        advantages: [B, D].
        logprobs: [B, D] of the policy that acted.
        mask: [B, D] bool, where there is a decision.
        weight: [B] what an episode's sum over decisions is multiplied with; the learner then
            averages over episodes. B / (number of decisions) makes that the mean over decisions.
    """

    advantages: Tensor
    logprobs: Tensor
    mask: Tensor
    weight: Tensor

    def episode_sums(self, values: Tensor) -> Tensor:
        """[b] weighted sums of [b, D] over each episode's decisions."""
        return values.masked_fill(~self.mask, 0.0).sum(dim=1) * self.weight


def mean_over_decisions(mask: Tensor) -> Tensor:
    """Return the [B] weights under which the mean over episodes is the mean over decisions."""
    return (mask.shape[0] / mask.sum()).expand(mask.shape[0])


def surrogate_loss(
    logprobs: Tensor, targets: SurrogateTargets, clip_low: float, clip_high: float
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the clipped surrogate of each episode and its diagnostics.

    Args:
        logprobs: [b, D] of the policy being trained, with gradient.
        targets: the same rows.
        clip_low: epsilon below 1.
        clip_high: epsilon above 1.

    Returns:
        [b] losses, and [b] each of ``policy_loss``, ``clip_fraction``, ``approx_kl``
        (½ log² ratio, the KL between the policies of this update) and ``ratio_max``.
    """
    log_ratio = (logprobs - targets.logprobs).masked_fill(~targets.mask, 0.0)
    loss = targets.episode_sums(
        clipped_surrogate(log_ratio, targets.advantages, clip_low, clip_high)
    )
    clipped = is_clipped(log_ratio, targets.advantages, clip_low, clip_high)
    metrics = {
        "policy_loss": loss,
        "clip_fraction": targets.episode_sums(clipped.to(loss.dtype)),
        "approx_kl": targets.episode_sums(0.5 * log_ratio.square()),
        "ratio_max": log_ratio.exp().amax(dim=1),
    }
    return loss, metrics
