"""The KL penalty as the learner sees it: in the reward, or taken out of it for the loss.

Where it is paid and which estimator it uses decide what is optimized. The log-ratio itself (k1) in
the reward is the RLHF objective. The other five combinations converge elsewhere, or nowhere:
see `agents.config.AgentConfig`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from agents.rollouts.decisions import sum_per_decision
from rlhf_env.deprecated_modules import renamed
from rlhf_env.kl import k1, k2, k3
from rlhf_env.rollout import Rollout
from rlhf_env.vector_env import RLHFVectorEnv

__getattr__ = renamed(__name__, {"close_kl": "add_policy_logprob"})

KL_ESTIMATORS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"k1": k1, "k2": k2, "k3": k3}


def add_policy_logprob(
    rollout: Rollout, kl_coef: float | None = None, *, logprobs: Tensor | None = None
) -> Rollout:
    """Return the rollout whose KL term holds the policy's part too, ``-kl_coef * log pi(a|s)``.

    With the environment's ``kl_coef * log pi_ref(a|s)`` the penalty becomes the unbiased
    ``-kl_coef * (log pi - log pi_ref)``, so that maximizing the reward is the RLHF objective.
    Of episodes that include it already only a difference to ``logprobs`` is paid.

    Args:
        rollout: paid episodes of any environment of this project.
        kl_coef: the coefficient that the environment paid with; the rollout's own when None.
        logprobs: [B, L] log pi of the policy that learns; the rollout's, those of the policy that
            sampled, when None.

    Raises:
        ValueError: if neither says what the coefficient is.
    """
    coefficient = _column(rollout) if kl_coef is None else kl_coef
    learns = rollout.logprobs if logprobs is None else logprobs
    owed = coefficient * learns
    includes = rollout.includes_policy_logprob
    if includes is not None:
        paid_for = torch.where(includes[:, None], rollout.logprobs, 0.0)
        owed = coefficient * (learns - paid_for)
    paid = rollout.with_term("kl", rollout.reward_terms["kl"] - owed)
    return _complete(paid)


def estimated_kl(rollout: Rollout, estimator: str, logprobs: Tensor | None = None) -> Rollout:
    """Pay the KL by an estimator in place of what the environment paid for it.

    Args:
        rollout: paid episodes of any environment of this project.
        estimator: of `KL_ESTIMATORS`, applied to the log-ratio of a whole decision; the penalty
            is paid at the decision's last token.
        logprobs: [B, L] log pi of the policy that learns; the rollout's when None.
    """
    learns = rollout.logprobs if logprobs is None else logprobs
    estimate = KL_ESTIMATORS[estimator](
        sum_per_decision(learns, rollout), sum_per_decision(rollout.ref_logprobs, rollout)
    )
    following = rollout.decision.roll(-1, dims=1)
    following[:, -1] = -1
    is_last = rollout.is_action & (rollout.decision != following)
    paid = torch.where(is_last, estimate.gather(1, rollout.decision.clamp(min=0)), 0.0)
    return _complete(rollout.with_term("kl", -_column(rollout) * paid))


def without_kl(rollout: Rollout) -> Rollout:
    """Return the rollout with nothing paid for KL."""
    return rollout.with_term("kl", torch.zeros_like(rollout.rewards))


def learned_kl(
    rollout: Rollout, placement: str, estimator: str, logprobs: Tensor | None = None
) -> Rollout:
    """Return the rollout with the KL term that a learner is to maximize.

    Args:
        rollout: paid episodes.
        placement: "reward", or "loss", where the reward holds no KL.
        estimator: of `KL_ESTIMATORS`.
        logprobs: [B, L] log pi of the policy that learns, where it is not the one that sampled.
    """
    if placement == "loss":
        return without_kl(rollout)
    if estimator == "k1":
        return add_policy_logprob(rollout, logprobs=logprobs)
    return estimated_kl(rollout, estimator, logprobs)


def with_provenance(rollout: Rollout, base: RLHFVectorEnv) -> Rollout:
    """Return the rollout with how its KL was paid, taken from the environment where missing."""
    known: dict[str, Tensor] = {}
    if rollout.kl_coef is None:
        known["kl_coef"] = torch.full_like(rollout.score, base.kl_coef)
    if rollout.includes_policy_logprob is None:
        known["includes_policy_logprob"] = torch.full_like(
            rollout.terminated, base.mdp.options.includes_policy_logprob
        )
    return rollout.replace(**known)


def _complete(rollout: Rollout) -> Rollout:
    """Mark episodes as those whose rewards hold the policy's part of the KL."""
    return rollout.replace(includes_policy_logprob=torch.ones_like(rollout.terminated))


def _column(rollout: Rollout) -> Tensor:
    """Return beta of each episode, [B, 1]."""
    if rollout.kl_coef is None:
        raise ValueError(
            "the rollout must say which kl_coef its KL was paid with, got None; "
            "set it with rollout.replace(kl_coef=...), one number per episode"
        )
    return rollout.kl_coef[:, None]
