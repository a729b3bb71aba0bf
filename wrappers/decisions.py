"""Which decision of its episode a token belongs to, for finished episodes."""

from __future__ import annotations

import torch
from torch import Tensor

from rlhf_env.mdp.mdp import TokenMDP
from rlhf_env.rollout import Rollout
from wrappers.boundary import StateBoundary


def decisions_of_size(rollout: Rollout, size: int) -> Tensor:
    """Return [B, L] decisions of ``size`` tokens each; -1 where no action."""
    index = rollout.is_action.long().cumsum(dim=1) - 1
    return torch.where(rollout.is_action, index // size, -1)


def decisions_by_boundary(rollout: Rollout, boundary: StateBoundary, mdp: TokenMDP) -> Tensor:
    """Return [B, L] decisions that each end where ``boundary`` says so; -1 where no action."""
    ends = (boundary.ends(rollout, mdp) & rollout.is_action).long()
    # A token's decision is how many have ended before it.
    return torch.where(rollout.is_action, ends.cumsum(dim=1) - ends, -1)
