"""Advantages of agents without a critic: an episode against others of its prompt."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from agents.algorithms.surrogate import SurrogateTargets
from rlhf_env.rollout import Rollout


@dataclass(frozen=True, kw_only=True)
class GroupTargets(SurrogateTargets):
    """What agents aim at that compare within groups, beside `SurrogateTargets`.

    Attributes:
        frac_reward_zero_std: [B] 1.0 where all episodes of the group have one return, and so teach
            nothing; else 0.0.
    """

    frac_reward_zero_std: Tensor


def decision_advantages(
    per_episode: Tensor, to_go: Tensor, mask: Tensor, form: str, scale: Tensor | float = 1.0
) -> Tensor:
    """Return the advantage of each decision, [B, D], 0 outside the mask.

    Args:
        per_episode: [B] advantage of the episode's whole return G_0.
        to_go: [B, D] the return G_t from each decision on.
        mask: [B, D] bool.
        form: "discounted" gives all decisions the episode's advantage, whose expected gradient
            is that of E[G_0]; "standard" takes off what had been paid before the decision.
        scale: [B] or one number, what advantages were divided by.
    """
    if form == "discounted":
        return per_episode[:, None].expand(mask.shape).masked_fill(~mask, 0.0)
    paid_before = (to_go[:, :1] - to_go) / _as_column(scale)
    return (per_episode[:, None] - paid_before).masked_fill(~mask, 0.0)


def are_equal(returns: Tensor, group: Tensor) -> Tensor:
    """Return [B] 1.0 where a group's returns are all the same, else 0.0."""
    is_elsewhere = group[:, None] != group
    return (is_elsewhere | (returns[:, None] == returns)).all(dim=1).to(returns.dtype)


def check_terminated(rollout: Rollout, agent: str) -> None:
    """Raise ValueError if an episode was truncated: there is no critic to bootstrap from."""
    if not rollout.terminated.all():
        raise ValueError(
            f"{agent} has no critic to bootstrap from, got truncated episodes; use PPO, or "
            'length_limit="score" or "penalize"'
        )


def _as_column(scale: Tensor | float) -> Tensor | float:
    return scale[:, None] if isinstance(scale, Tensor) else scale
