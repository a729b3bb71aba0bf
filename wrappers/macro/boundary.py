"""The boundaries of macro actions: after which tokens an action ends.

The named ones are in `wrappers.boundaries`.
"""

from __future__ import annotations

import numbers
import reprlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from rlhf_env.checks import check_takes
from rlhf_env.mdp.mdp import TokenMDP
from rlhf_env.rollout import Rollout
from rlhf_env.task import Task


@runtime_checkable
class StateBoundary(Protocol):
    """A boundary that depends on more than the response, such as the prompt or the reference.

    Both methods must agree on the same text, so that stepped and decoded episodes are divided
    into the same decisions. Their answer for the last token of an episode does not matter.
    """

    def ends_now(self, mdp: TokenMDP, rows: Sequence[int]) -> list[bool]:
        """Return for some rows whether an action ends after the last token.

        Args:
            mdp: holds prompt and response so far of every row.
            rows: the numbers of the rows to judge; each has at least one response token.
        """
        ...

    def ends(self, rollout: Rollout, mdp: TokenMDP) -> Tensor:
        """Return after which tokens of finished episodes an action ends.

        Args:
            rollout: B episodes.
            mdp: gives reference and task.

        Returns:
            [B, L] bool; ignored where ``rollout.is_action`` is False.
        """
        ...


Boundary = Callable[[Tensor, Task], bool] | StateBoundary


@dataclass(frozen=True, kw_only=True)
class ResponseBoundary:
    """A boundary that is a function of the response."""

    function: Callable[[Tensor, Task], bool]
    """``f(prefix_ids, task) -> bool``, True if an action ends after the last token of
    ``prefix_ids``, the response so far."""

    def ends_now(self, mdp: TokenMDP, rows: Sequence[int]) -> list[bool]:
        """Return for some rows whether an action ends after the last token."""
        return [is_end(self.function(mdp.response(row), mdp.task)) for row in rows]

    def ends(self, rollout: Rollout, mdp: TokenMDP) -> Tensor:
        """Return after which tokens of finished episodes an action ends, [B, L] bool."""
        answers = [
            is_end(self.function(response[: t + 1].clone(), mdp.task))
            for response, own in zip(
                rollout.responses(), rollout.responses_are_actions(), strict=True
            )
            for t in own.nonzero().flatten().tolist()
        ]
        ends = torch.zeros_like(rollout.is_action)
        ends[rollout.is_action] = torch.tensor(answers, device=ends.device)
        return ends


def state_boundary(boundary: Boundary) -> StateBoundary:
    """Return a boundary in the form that works for stepping and for rollouts.

    Raises:
        ValueError: if it is neither a function of (prefix_ids, task) nor a `StateBoundary`.
    """
    if isinstance(boundary, StateBoundary):
        return boundary
    if not callable(boundary):
        raise ValueError(f"boundary must be a function (prefix_ids, task), got {boundary!r}")
    check_takes("boundary", boundary, ("prefix_ids", "task"))
    return ResponseBoundary(function=boundary)


def is_end(answer: object) -> bool:
    """Return what a boundary answers about one response.

    Raises:
        ValueError: unless it is a bool or a number; a text or a list would count as True.
    """
    if isinstance(answer, Tensor | np.ndarray) and answer.shape in ((), (1,)):
        answer = answer.item()
    if not isinstance(answer, bool | np.bool_ | numbers.Real):
        raise ValueError(
            "boundary must return True or False for each response, got "
            f"{reprlib.repr(answer)}; return a comparison, or bool(...) of it"
        )
    return bool(answer)
