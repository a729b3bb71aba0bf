"""What a boundary of macro actions is: after which tokens an action ends.

The named ones are in `wrappers.boundaries`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from rlhf_env.mdp.mdp import TokenMDP
from rlhf_env.rollout import Rollout
from rlhf_env.task import Task


@runtime_checkable
class StateBoundary(Protocol):
    """A boundary that sees more than the response: the prompt, and what the reference makes of it.

    Both methods answer alike for the same text, so stepped and decoded episodes fall into the
    same decisions. What they say of the last token of an episode does not matter.
    """

    def ends_now(self, mdp: TokenMDP, rows: Sequence[int]) -> list[bool]:
        """Return for some rows whether an action ends after the newest token.

        Args:
            mdp: whose rows hold prompt and response so far.
            rows: the numbers of the rows asked about; each has written a token.
        """
        ...

    def ends(self, rollout: Rollout, mdp: TokenMDP) -> Tensor:
        """Return after which tokens of finished episodes an action ends.

        Args:
            rollout: B episodes.
            mdp: whose reference and task are meant.

        Returns:
            [B, L] bool; ignored where ``rollout.is_action`` is False.
        """
        ...


Boundary = Callable[[Tensor, Task], bool] | StateBoundary


@dataclass(frozen=True, kw_only=True)
class ResponseBoundary:
    """A boundary that is a function of the response.

    Attributes:
        function: ``f(prefix_ids, task) -> bool``, True if an action ends after the last token of
            ``prefix_ids``, the response so far.
    """

    function: Callable[[Tensor, Task], bool]

    def ends_now(self, mdp: TokenMDP, rows: Sequence[int]) -> list[bool]:
        """Return for some rows whether an action ends after the newest token."""
        return [bool(self.function(mdp.response(row), mdp.task)) for row in rows]

    def ends(self, rollout: Rollout, mdp: TokenMDP) -> Tensor:
        """Return after which tokens of finished episodes an action ends, [B, L] bool."""
        found = [
            bool(self.function(response[: t + 1].clone(), mdp.task))
            for response in rollout.responses()
            for t in range(len(response))
        ]
        ends = torch.zeros_like(rollout.is_action)
        ends[rollout.is_action] = torch.tensor(found, device=ends.device)
        return ends


def state_boundary(boundary: Boundary) -> StateBoundary:
    """Return what a caller gave as a boundary, in the form that both ways of playing ask.

    Raises:
        ValueError: if it is neither a function nor a `StateBoundary`.
    """
    if isinstance(boundary, StateBoundary):
        return boundary
    if not callable(boundary):
        raise ValueError(f"boundary must be a function (prefix_ids, task), got {boundary!r}")
    return ResponseBoundary(function=boundary)
