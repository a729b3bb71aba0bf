"""From tokens to decisions: the one place that knows what a decision is.

A decision is what the agent is treated as choosing at once: a token, a macro action, or a whole
response. ``Rollout.decision`` numbers them; everything below is a sum or a pick by that number, and
of several runs at once where the rollout has a first axis more.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rlhf_env.rollout import Rollout


def is_decision(rollout: Rollout) -> Tensor:
    """Return [B, D] bool, True where an episode has a decision of that number."""
    counts = rollout.decision.amax(dim=-1) + 1
    return torch.arange(int(counts.max()), device=counts.device) < counts[..., None]


def sum_per_decision(values: Tensor, rollout: Rollout, width: int | None = None) -> Tensor:
    """Add up a decision's tokens: log-probabilities multiply, rewards accumulate.

    Args:
        values: [B, L] of the tokens.
        rollout: whose ``decision`` says which token belongs where.
        width: D; the largest number of decisions in a row when None.

    Returns:
        [B, D] sums; 0 where there is no decision.
    """
    columns = int(rollout.decision.max()) + 1 if width is None else width
    sums = values.new_zeros((*values.shape[:-1], columns))
    kept = values.masked_fill(~rollout.is_action, 0.0)
    return sums.scatter_add(-1, rollout.decision.clamp(min=0), kept)


def first_of_decision(values: Tensor, rollout: Rollout, width: int | None = None) -> Tensor:
    """Select the value at the first token of each decision: the value of its state.

    Args:
        values: [B, L] of the tokens.
        rollout: whose ``decision`` says which token belongs where.
        width: D; the largest number of decisions in a row when None.

    Returns:
        [B, D] values; 0 where there is no decision.
    """
    return sum_per_decision(values.masked_fill(~starts_decision(rollout), 0.0), rollout, width)


def starts_decision(rollout: Rollout) -> Tensor:
    """Return [B, L] bool, True at the first token of each decision.

    A decision may go on after what the environment said, as a conversation does that is one
    decision.
    """
    latest = rollout.decision.cummax(dim=-1).values
    earlier = latest.roll(1, dims=-1)
    earlier[..., 0] = -1
    return rollout.is_action & (rollout.decision != earlier)
