"""What the decisions of finished episodes were paid, whoever took them, and their log-ratios."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from agents.policy import PolicyOutput
from agents.rollouts.decisions import is_decision, sum_per_decision
from rlhf_env.rollout import Rollout

_KL = "kl"


@dataclass(frozen=True, kw_only=True)
class PaidDecisions:
    """B finished episodes as rows of D decisions."""

    mask: Tensor
    """[B, D] bool, where there is a decision."""
    rewards: Tensor
    """[B, D] what each is paid, without any KL."""
    kl_coef: Tensor
    """[B] beta of each episode."""

    @classmethod
    def of(cls, rollout: Rollout, agent: str, *, needs_whole: bool = True, **fields: Any) -> Self:
        """Return what the decisions of a rollout were paid.

        Args:
            rollout: B paid episodes; ``rewards`` are not read, as they hold the KL of the policy
                that acted.
            agent: named where episodes are refused.
            needs_whole: refuse truncated episodes.
            **fields: those of a derived class.

        Raises:
            ValueError: if an episode was truncated, or was paid with beta 0.
        """
        if needs_whole and not rollout.terminated.all():
            raise ValueError(
                f"{agent} needs whole episodes, whose return it cannot complete, got truncated "
                'episodes; use length_limit="score" or "penalize"'
            )
        assert rollout.kl_coef is not None
        if not (rollout.kl_coef > 0).all():
            raise ValueError(
                f"{agent} needs a KL coefficient above 0, got an episode that was paid with "
                f"{float(rollout.kl_coef.min()):g}; set kl_coef"
            )
        terms = [term for name, term in rollout.reward_terms.items() if name != _KL]
        return cls(
            mask=is_decision(rollout),
            rewards=sum_per_decision(torch.stack(terms).sum(dim=0), rollout),
            kl_coef=rollout.kl_coef,
            **fields,
        )

    def log_ratio(self, rollout: Rollout, new: PolicyOutput) -> Tensor:
        """Return log pi − log pi_ref of each decision, [B, D], of the policy being trained."""
        return self.per_decision(new.logprobs - rollout.ref_logprobs, rollout)

    def per_decision(self, values: Tensor, rollout: Rollout) -> Tensor:
        """Return [B, D] sums of what the tokens of each decision have, [B, L]."""
        return sum_per_decision(values, rollout, self.mask.shape[1])

    def mean(self, values: Tensor) -> Tensor:
        """Return the mean over each episode's decisions of values [B, D], [B]."""
        return values.masked_fill(~self.mask, 0.0).sum(dim=1) / self.mask.sum(dim=1)


def at_prompt(values: Tensor, rollout: Rollout) -> Tensor:
    """Return what the first action of each episode has of values [B, L], [B]."""
    return values.gather(1, rollout.prompt_lengths[:, None]).squeeze(1)
