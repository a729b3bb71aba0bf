"""Values of decisions that do not come from the policy's own critic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from agents.policy import PolicyOutput
from agents.rollouts.discounting import sum_of_terms
from rlhf_env.rollout import Rollout


def with_values(old: PolicyOutput, rollout: Rollout, values: Mapping[str, Tensor]) -> PolicyOutput:
    """Return outputs with the values [B, D] of decisions, by discount, at all of their tokens.

    Args:
        old: outputs of a policy on B finished episodes.
        rollout: the episodes.
        values: for each discount by name.
    """
    at = rollout.decision.clamp(min=0)
    spread = {
        name: torch.where(rollout.is_action, each.gather(1, at).to(old.values), 0.0)
        for name, each in values.items()
    }
    nothing = {name: torch.zeros_like(old.last_values) for name in spread}
    return replace(
        old,
        values=sum_of_terms(spread),
        term_values=spread,
        last_values=torch.zeros_like(old.last_values),
        last_term_values=nothing,
    )
