"""Which decision of its episode a token belongs to, for finished episodes."""

from __future__ import annotations

import torch
from torch import Tensor

from rlhf_env.rollout import Rollout
from rlhf_env.task import Task
from wrappers.macro_step import Boundary


def decisions_of_size(rollout: Rollout, size: int) -> Tensor:
    """Return [B, L] decisions of ``size`` tokens each; -1 where no action."""
    index = rollout.is_action.long().cumsum(dim=1) - 1
    return torch.where(rollout.is_action, index // size, -1)


def decisions_by_boundary(rollout: Rollout, boundary: Boundary, task: Task) -> Tensor:
    """Return [B, L] decisions that each end where ``boundary`` says so; -1 where no action."""
    decision = torch.full_like(rollout.decision, -1)
    for row, response in enumerate(rollout.responses()):
        ends = [bool(boundary(response[: t + 1].clone(), task)) for t in range(len(response))]
        ends_before = torch.tensor([False, *ends[:-1]], device=decision.device)
        decision[row, rollout.is_action[row]] = ends_before.long().cumsum(dim=0)
    return decision
