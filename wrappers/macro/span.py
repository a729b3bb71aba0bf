"""How far a macro action reaches, and which decision each token of an episode belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rlhf_env.checks import check_count
from rlhf_env.mdp.mdp import TokenMDP
from rlhf_env.rollout import Rollout
from wrappers.macro.boundary import Boundary, StateBoundary, state_boundary


@dataclass(frozen=True, kw_only=True)
class Span:
    """The length of a macro action: a number of tokens, or up to a boundary."""

    size: int
    """The largest number of tokens in an action."""
    boundary: StateBoundary | None = None
    """Tells after which token an action ends; None if only ``size`` does."""

    @classmethod
    def of(cls, n: int | None, boundary: Boundary | None, mdp: TokenMDP) -> Span:
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
        return cls(size=mdp.max_new_tokens, boundary=state_boundary(boundary))

    def are_over(self, mdp: TokenMDP, rows: Sequence[int]) -> list[bool]:
        """Return for some rows whether the action ends after the token just written."""
        if self.boundary is None or not rows:
            return [False] * len(rows)
        return self.boundary.ends_now(mdp, rows)

    def decisions(self, rollout: Rollout, mdp: TokenMDP) -> Tensor:
        """Return [B, L] the decision that each token belongs to; -1 where no action."""
        if self.boundary is None:
            return decisions_of_size(rollout, self.size)
        return decisions_by_boundary(rollout, self.boundary, mdp)


def decisions_of_size(rollout: Rollout, size: int) -> Tensor:
    """Return [B, L] decisions of ``size`` tokens each; -1 where no action."""
    index = rollout.is_action.long().cumsum(dim=1) - 1
    return torch.where(rollout.is_action, index // size, -1)


def decisions_by_boundary(rollout: Rollout, boundary: StateBoundary, mdp: TokenMDP) -> Tensor:
    """Return [B, L] decisions that each end at a boundary; -1 where no action."""
    ends = (boundary.ends(rollout, mdp) & rollout.is_action).long()
    # A token's decision is the number of decisions that ended before it.
    return torch.where(rollout.is_action, ends.cumsum(dim=1) - ends, -1)
