"""Group advantages turn by turn: what each turn was paid, against the same turn of the others.

A_t = Σ_{j ≥ t} (r_j − mean_j) / std_j, with mean and deviation over the episodes of the group that
reached turn j (MT-GRPO, arXiv:2505.11821). Which turns j there are to sum over is decided by the
episode itself, so what is taken off depends on the action, and the gradient is biased where the
policy decides when to stop (verl#7244): without the deviation, and with many episodes in a group,
by −Σ_{j ≥ 1} E[r_j] ∇P(turn j is reached), as if every further turn cost what it is paid on
average.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from agents.math import discounted_returns
from agents.rollouts.decisions import first_of_decision
from agents.settings.group import GroupConfig
from rlhf_env.rollout import Rollout

GroupFunction = Callable[[Tensor, Tensor], Tensor]
"""From returns [B] and group numbers [B] to one number for each, [B]."""


def turn_advantages(
    rollout: Rollout, config: GroupConfig, center: GroupFunction, scale: GroupFunction | None
) -> Tensor:
    """Return the advantage of each decision, [B, D].

    A turn that one episode of a group alone has reached is compared with nothing and has 0.

    Args:
        rollout: B terminated episodes of a task with turns.
        config: ``gradient_form`` and ``gamma``, which is per turn.
        center: a reward less its baseline, by group, such as `agents.math.leave_one_out`.
        scale: what it is divided by; 1 when None.
    """
    turn = turn_numbers(rollout)
    rewards, reached = rewards_of_turns(rollout, turn)
    row, number = reached.nonzero().unbind(dim=1)
    groups = rollout.group[row] * reached.shape[1] + number
    _, members, sizes = groups.unique(return_inverse=True, return_counts=True)
    compared = sizes[members] > 1
    row, number, groups = row[compared], number[compared], groups[compared]
    paid = rewards[row, number]
    relative = center(paid, groups)
    if scale is not None:
        relative = relative / scale(paid, groups)
    surplus = torch.zeros_like(rewards)
    surplus[row, number] = relative
    assert isinstance(config.gamma, float | int), "refused by the settings"
    to_go = discounted_returns(surplus, reached, config.gamma)
    if config.gradient_form == "discounted":
        to_go = to_go[:, :1].expand_as(to_go)
    first = torch.where(rollout.is_action, to_go.gather(1, turn.clamp(min=0)), 0.0)
    return first_of_decision(first, rollout)


def turn_numbers(rollout: Rollout) -> Tensor:
    """Return which turn of its episode each action belongs to, [B, L]; -1 elsewhere."""
    assert rollout.ends_turn is not None, "checked when the agent was made"
    ends = rollout.ends_turn.long()
    return torch.where(rollout.is_action, ends.cumsum(dim=1) - ends, -1)


def rewards_of_turns(rollout: Rollout, turn: Tensor) -> tuple[Tensor, Tensor]:
    """Return what each turn was paid, [B, K], and whether it has an action, [B, K] bool."""
    width = int(turn.max()) + 1
    paid = rollout.rewards.masked_fill(~rollout.is_action, 0.0)
    rewards = paid.new_zeros(len(rollout), width).scatter_add(1, turn.clamp(min=0), paid)
    numbers = torch.arange(width, device=turn.device)
    return rewards, numbers <= turn.amax(dim=1)[:, None]
