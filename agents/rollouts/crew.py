"""Workers elsewhere that make a policy's episodes in place of this process.

What sends the work, such as a Ray cluster, is not known here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

import torch
from torch import Tensor

from agents.policy import Policy
from agents.processes.group import count
from agents.rollouts.sampling_plan import SamplingPlan
from rlhf_env.rollout import Rollout


class Crew(Protocol):
    """Workers that each hold a copy of a policy and its environment."""

    policy: Policy
    """The policy whose episodes they make, with its present weights; they make no other's."""

    def shares(
        self, parts: Sequence[SamplingPlan], *, kl_coef: float, temperature: float
    ) -> Sequence[Rollout]:
        """Return the finished episodes of each part of a plan.

        Args:
            parts: at least one episode each.
            kl_coef: beta that they are paid with.
            temperature: divides the reference's logits.
        """
        ...

    def __len__(self) -> int:
        """Return the number of workers."""
        ...


_crew: ContextVar[Crew | None] = ContextVar("crew", default=None)


@contextmanager
def working(crew: Crew) -> Iterator[None]:
    """Let a crew make the episodes of its policy that are collected inside."""
    token = _crew.set(crew)
    try:
        yield
    finally:
        _crew.reset(token)


def crew_of(policy: Policy) -> Crew | None:
    """Return the crew that makes a policy's episodes; None if this process makes them."""
    crew = _crew.get()
    return crew if crew is not None and crew.policy is policy and count() == 1 else None


def parts_of(plan: SamplingPlan, workers: int) -> list[SamplingPlan]:
    """Return consecutive parts of a plan, at most one for each worker, none of them empty."""
    rows: tuple[Tensor, ...] = torch.arange(len(plan.prompts)).tensor_split(workers)
    return [plan.part(part) for part in rows if len(part)]
