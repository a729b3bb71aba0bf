"""How far a macro action reaches, and which decision each token of an episode belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rlhf_env.checks import check_choice, check_count
from rlhf_env.mdp.mdp import TokenMDP
from rlhf_env.rollout import Rollout
from rlhf_env.task import Task
from wrappers.macro.boundary import Boundary, StateBoundary, is_end, state_boundary

TURN = "turn"
"""The boundary at which a turn ends, by name."""


@dataclass(frozen=True, kw_only=True)
class Span:
    """The length of a macro action: a number of tokens, or up to a boundary.

    In a conversation it ends with the turn at the latest: what the environment will say is not
    known when the action is chosen.
    """

    size: int
    """The largest number of tokens in an action."""
    boundary: StateBoundary | None = None
    """Tells after which token an action ends; None if only ``size`` does."""
    crosses_turns: bool = False
    """Whether a whole conversation is one action, which exists on rollouts only."""

    @classmethod
    def of(cls, n: int | None, boundary: Boundary | str | None, mdp: TokenMDP) -> Span:
        """Return the span for the arguments of `wrappers.MacroAction`.

        Raises:
            ValueError: unless exactly one of ``n`` and ``boundary`` is given and usable.
        """
        if (n is None) == (boundary is None):
            raise ValueError(
                f"MacroAction needs n or boundary, exactly one of them, got n={n!r} and "
                f"boundary={boundary!r}"
            )
        if boundary is None:
            check_count("n", n)
            assert n is not None, "checked above"
            return cls(size=n)
        if isinstance(boundary, str):
            check_choice("boundary", boundary, (TURN,))
            boundary = ends_turn
        return cls(size=mdp.max_new_tokens, boundary=state_boundary(boundary))

    def are_over(self, mdp: TokenMDP, rows: Sequence[int]) -> list[bool]:
        """Return for some rows whether the action ends after the token just written."""
        if not rows:
            return []
        by_turn = [
            mdp.dialogue is not None and ends_turn(mdp.response(row), mdp.task) for row in rows
        ]
        if self.boundary is None:
            return by_turn
        pairs = zip(by_turn, self.boundary.ends_now(mdp, rows), strict=True)
        return [is_end(boundary) or turn for turn, boundary in pairs]

    def decisions(self, rollout: Rollout, mdp: TokenMDP) -> Tensor:
        """Return [B, L] the decision that each token belongs to; -1 where no action."""
        if self.crosses_turns or (mdp.dialogue is None and self.boundary is None):
            return decisions_of_size(rollout, self.size)
        ends = torch.zeros_like(rollout.is_action)
        if mdp.dialogue is not None:
            ends |= rollout.tokens == mdp.task.turn_end_id
        if self.boundary is None:
            return decisions_by_ends(rollout, ends | ends_of_size(rollout, ends, self.size))
        return decisions_by_ends(rollout, ends | self.boundary.ends(rollout, mdp))


def ends_turn(prefix_ids: Tensor, task: Task) -> bool:
    """Return whether the response so far ends with the token that ends a turn."""
    return int(prefix_ids[-1]) == task.turn_end_id


def decisions_of_size(rollout: Rollout, size: int) -> Tensor:
    """Return [B, L] decisions of ``size`` tokens each; -1 where no action."""
    index = rollout.is_action.long().cumsum(dim=1) - 1
    return torch.where(rollout.is_action, index // size, -1)


def ends_of_size(rollout: Rollout, turn_ends: Tensor, size: int) -> Tensor:
    """Return [B, L] bool, True at every ``size``-th action of a turn.

    Args:
        rollout: B episodes.
        turn_ends: [B, L] bool, ignored where there is no action.
        size: n.
    """
    count = rollout.is_action.long().cumsum(dim=1)
    # The actions up to the latest turn's end before each token.
    ended = torch.where(turn_ends & rollout.is_action, count, 0).cummax(dim=1).values
    before = ended.roll(1, dims=1)
    before[:, 0] = 0
    return (count - before) % size == 0


def decisions_by_ends(rollout: Rollout, is_end: Tensor) -> Tensor:
    """Return [B, L] decisions, given after which actions one ends; -1 where no action."""
    ends = (is_end & rollout.is_action).long()
    # A token's decision is the number of decisions that ended before it.
    return torch.where(rollout.is_action, ends.cumsum(dim=1) - ends, -1)
