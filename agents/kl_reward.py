"""The policy's part of the KL penalty, which a "reference" environment leaves to the agent."""

from __future__ import annotations

from rlhf_env.rollout import Rollout


def close_kl(rollout: Rollout, kl_coef: float) -> Rollout:
    """Add ``-kl_coef * log pi(a|s)`` to what every action was paid.

    With the environment's ``kl_coef * log pi_ref(a|s)`` the penalty becomes the unbiased
    ``-kl_coef * (log pi - log pi_ref)``, so that maximising the reward is the RLHF objective.

    Args:
        rollout: of an environment with ``kl_penalty="reference"``.
        kl_coef: the coefficient that the environment paid with.
    """
    return rollout.with_term("kl", rollout.reward_terms["kl"] - kl_coef * rollout.logprobs)
