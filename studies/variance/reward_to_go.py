"""REINFORCE with reward-to-go: the policy gradient in which a reward's density can matter."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from agents import PolicyOutput
from agents.math import discounted_returns
from agents.rollouts.decisions import is_decision, sum_per_decision
from rlhf_env.engine.language_model import LanguageModel
from rlhf_env.rollout import Rollout


@dataclass(frozen=True, kw_only=True)
class Weights:
    """The factor of the log-probability of each decision."""

    advantages: Tensor
    """[B, D]; 0 where there is no decision."""


@dataclass(frozen=True)
class RewardToGo:
    """Σ_t (G_t − b_t) ∇ log π(a_t|s_t), undiscounted; an algorithm as `agents.Agent` takes it.

    G_t is what decision t and the later ones are paid, b_t the mean of the same over the other
    episodes of the rollout that have a decision t. So the estimate is unbiased.
    """

    def targets(self, rollout: Rollout, old: PolicyOutput, reference: LanguageModel) -> Weights:
        """Return the advantages; see `Algorithm.targets`."""
        mask = is_decision(rollout)
        rewards = sum_per_decision(rollout.rewards, rollout)
        returns = discounted_returns(rewards, mask, gamma=1.0)
        return Weights(advantages=minus_mean_of_others(returns, mask))

    def loss(
        self, rollout: Rollout, new: PolicyOutput, old: PolicyOutput, targets: Weights
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return minus the weighted log-probability of each episode; see `Algorithm.loss`."""
        advantages = targets.advantages
        logprobs = sum_per_decision(new.logprobs, rollout, advantages.shape[1])
        return -(advantages * logprobs).sum(dim=1), {}


def minus_mean_of_others(returns: Tensor, mask: Tensor) -> Tensor:
    """Subtract from each return the mean of the other episodes' at the same decision number.

    Args:
        returns: [B, D]; 0 outside the mask.
        mask: [B, D] bool, where there is a decision.

    Returns:
        [B, D]; a return without others stays as it is, and outside the mask it is 0.
    """
    others = (mask.sum(dim=0) - 1).clamp(min=1)
    means = (returns.sum(dim=0) - returns) / others
    return (returns - means).masked_fill(~mask, 0.0)
