"""Advantages of agents without a critic: an episode against others of its prompt."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from agents.algorithms.surrogate import DecisionBatch, check_squarable
from agents.algorithms.turn_advantages import GroupFunction, turn_advantages
from agents.policy import PolicyOutput
from agents.rollouts.decisions import is_decision
from agents.rollouts.discounting import returns_to_go
from agents.settings.group import GroupConfig
from rlhf_env.rollout import Rollout


@dataclass(frozen=True, kw_only=True)
class GroupTargets(DecisionBatch):
    """What agents aim at that compare within groups, besides `DecisionBatch`."""

    frac_reward_zero_std: Tensor
    """[B] 1.0 where all episodes of the group have one return, and so teach nothing; else 0.0."""


def group_advantages(
    rollout: Rollout,
    old: PolicyOutput,
    config: GroupConfig,
    center: GroupFunction,
    scale: GroupFunction | None = None,
    **used: Any,
) -> GroupTargets:
    """Compare the return of each episode with those of its group.

    A_i = center(R)_i / scale(R)_i, given to the decisions as ``config.gradient_form`` says; or the
    same turn by turn, as ``config.group_baseline`` does.

    Args:
        rollout: B terminated episodes.
        old: what the policy that acted predicts for them.
        config: the settings.
        center: the return less its baseline, such as `agents.math.group_centered`.
        scale: what it is divided by, such as `agents.math.group_deviation`; 1 when None.
        **used: ``horizon`` and ``is_used`` of `DecisionBatch.of`.

    Raises:
        ValueError: if rewards are so large that their squares overflow.
    """
    check_squarable(rollout)
    mask = is_decision(rollout)
    to_go = returns_to_go(rollout, mask, config.gamma, unit=config.discount_unit)
    returns, group = to_go[..., 0].flatten(), rollout.group.flatten()
    scales = torch.ones_like(returns) if scale is None else scale(returns, group)
    divisor = scales.view(mask.shape[:-1])
    if config.group_baseline == "turn":
        advantages = turn_advantages(rollout, config, center, scale)
    else:
        per_episode = center(returns, group).view(mask.shape[:-1]) / divisor
        form = config.gradient_form
        advantages = decision_advantages(per_episode, to_go, mask, form, divisor)
    return GroupTargets.of(
        rollout,
        old,
        config,
        is_on_policy=config.is_single_step,
        advantages=advantages,
        frac_reward_zero_std=are_equal(returns, group).view(mask.shape[:-1]),
        **used,
    )


def decision_advantages(
    per_episode: Tensor, to_go: Tensor, mask: Tensor, form: str, scale: Tensor
) -> Tensor:
    """Return the advantage of each decision, [B, D], 0 outside the mask.

    Args:
        per_episode: [B] advantage of the episode's whole return G_0.
        to_go: [B, D] the return G_t from each decision on.
        mask: [B, D] bool.
        form: "discounted" gives all decisions the episode's advantage, whose expected gradient
            is that of E[G_0]; "standard" takes off what had been paid before the decision.
        scale: [B] what advantages were divided by.
    """
    if form == "discounted":
        return per_episode[..., None].expand(mask.shape).masked_fill(~mask, 0.0)
    paid_before = (to_go[..., :1] - to_go) / scale[..., None]
    return (per_episode[..., None] - paid_before).masked_fill(~mask, 0.0)


def finished_responses(rollout: Rollout, ending_ids: Sequence[int]) -> Tensor:
    """Return [B] bool, True where a response is not cut off (DAPO's overlong filtering).

    Args:
        rollout: B episodes.
        ending_ids: the tokens that finish one.
    """
    last = rollout.tokens[rollout.last_action]
    finished = torch.isin(last, torch.tensor(ending_ids, device=last.device))
    if not finished.any():
        warnings.warn(
            "no response of this rollout is finished, so skip_unfinished leaves nothing to "
            "learn from; raise max_new_tokens",
            stacklevel=2,
        )
    return finished


def are_equal(returns: Tensor, group: Tensor) -> Tensor:
    """Return [B] 1.0 where a group's returns are all the same, else 0.0."""
    _, members = group.unique(return_inverse=True)
    blank = torch.zeros(int(members.max()) + 1, dtype=returns.dtype, device=returns.device)
    lowest, highest = (
        blank.scatter_reduce(0, members, returns, reduce, include_self=False)
        for reduce in ("amin", "amax")
    )
    return (lowest == highest)[members].to(returns.dtype)


def check_terminated(rollout: Rollout, agent: str) -> None:
    """Raise ValueError if an episode was truncated: there is no critic to bootstrap from."""
    if not rollout.terminated.all():
        raise ValueError(
            f"{agent} has no critic to bootstrap from, got truncated episodes; use PPO, or "
            'length_limit="score" or "penalize"'
        )
