"""The KL penalty as the learner sees it: in the reward, or taken out of it for the loss.

Where it stands and which estimator it uses decide what is optimised. The log-ratio itself (k1) in
the reward is the RLHF objective. The other five combinations converge elsewhere, or nowhere:
see `agents.config.AgentConfig`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from agents.rollouts.decisions import sum_per_decision
from rlhf_env.kl import k1, k2, k3
from rlhf_env.rollout import Rollout

KL_PLACEMENTS = ("reward", "loss")
KL_ESTIMATORS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"k1": k1, "k2": k2, "k3": k3}


def add_policy_logprob(rollout: Rollout, kl_coef: float) -> Rollout:
    """Add ``-kl_coef * log pi(a|s)`` to what every action was paid.

    With the environment's ``kl_coef * log pi_ref(a|s)`` the penalty becomes the unbiased
    ``-kl_coef * (log pi - log pi_ref)``, so that maximising the reward is the RLHF objective.

    Args:
        rollout: of an environment with ``kl_penalty="reference"``.
        kl_coef: the coefficient that the environment paid with.
    """
    return rollout.with_term("kl", rollout.reward_terms["kl"] - kl_coef * rollout.logprobs)


def estimated_kl(rollout: Rollout, kl_coef: float, estimator: str) -> Rollout:
    """Pay the KL by an estimator in place of what the environment paid for it.

    Args:
        rollout: of any environment of this project.
        kl_coef: the coefficient.
        estimator: of `KL_ESTIMATORS`, applied to the log-ratio of a whole decision; the penalty
            stands at the decision's last token.
    """
    estimate = KL_ESTIMATORS[estimator](
        sum_per_decision(rollout.logprobs, rollout), sum_per_decision(rollout.ref_logprobs, rollout)
    )
    following = rollout.decision.roll(-1, dims=1)
    following[:, -1] = -1
    is_last = rollout.is_action & (rollout.decision != following)
    paid = torch.where(is_last, estimate.gather(1, rollout.decision.clamp(min=0)), 0.0)
    return rollout.with_term("kl", -kl_coef * paid)


def without_kl(rollout: Rollout) -> Rollout:
    """Return the rollout with nothing paid for KL."""
    return rollout.with_term("kl", torch.zeros_like(rollout.rewards))


def learned_kl(
    rollout: Rollout, placement: str, estimator: str, *, includes_policy_logprob: bool
) -> Rollout:
    """Return the rollout with the KL term that a learner is to maximise.

    Args:
        rollout: paid episodes, whose ``kl_coef`` is known.
        placement: "reward", or "loss", where the reward holds no KL.
        estimator: of `KL_ESTIMATORS`.
        includes_policy_logprob: whether the rewards hold the policy's log-probability too, and not
            the reference's part of the penalty alone.
    """
    if placement == "loss":
        return without_kl(rollout)
    assert rollout.kl_coef is not None, "paid rollouts know their coefficient"
    kl_coef = float(rollout.kl_coef[0])
    if estimator != "k1":
        return estimated_kl(rollout, kl_coef, estimator)
    return rollout if includes_policy_logprob else add_policy_logprob(rollout, kl_coef)
