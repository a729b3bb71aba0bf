"""Rollouts of several processes: each one makes some of the episodes, and all get all of them.

The plan of a rollout is the same in every process, so the episodes are those of one process, and
whatever is computed of a whole rollout (whitening, groups, baselines, controllers) is too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from agents.policy import PolicyOutput
from agents.processes.exchange import gathered, on_first
from agents.processes.group import count
from agents.processes.shares import own_part, own_rows
from agents.rollouts.sampling_plan import SamplingPlan
from rlhf_env.rollout import Rollout, RolloutTransform, join
from rlhf_env.vector_env import RLHFVectorEnv

Record = TypeVar("Record", Rollout, PolicyOutput)


def made_in_shares(
    plan: SamplingPlan, make: Callable[[Tensor], Rollout], base: RLHFVectorEnv
) -> Rollout:
    """Return all episodes of a plan, of which each process makes its own share.

    Args:
        plan: E episodes; a share may begin or end within a group.
        make: returns the finished episodes of some rows of the plan.
        base: where they are made.
    """
    every = torch.arange(len(plan.prompts))
    if count() == 1:
        return make(every)
    rows = own_part(every)
    shares = gathered(lambda: moved(make(rows), "cpu") if len(rows) else None)
    return joined_shares([share for share in shares if share is not None], plan, base)


def joined_shares(shares: Sequence[Rollout], plan: SamplingPlan, base: RLHFVectorEnv) -> Rollout:
    """Return consecutive shares of a plan's episodes as one rollout."""
    # Groups that the end of a share cuts would count as two.
    whole = join(shares, base.task.pad_id).replace(group=plan.group)
    return moved(whole, base.mdp.device)


def made_on_first(make: Callable[[], Rollout], device: torch.device) -> Rollout:
    """Return episodes that only the first process can make, such as those of an agent that acts."""
    if count() == 1:
        return make()
    return moved(on_first(lambda: moved(make(), "cpu")), device)


def evaluated_in_shares(
    rollout: Rollout, evaluate: Callable[[Rollout], PolicyOutput]
) -> PolicyOutput:
    """Return outputs on a whole rollout, of which each process computes those of its own rows.

    Args:
        rollout: B episodes.
        evaluate: returns the outputs on some of the episodes, with or without gradient.
    """
    if count() == 1:
        return evaluate(rollout)
    rows = own_rows(len(rollout)).to(rollout.tokens.device)
    shares = gathered(lambda: moved(evaluate(rollout.take(rows)), "cpu") if len(rows) else None)
    found = [share for share in shares if share is not None]

    def cat(parts: list[Any]) -> Any:
        if isinstance(parts[0], Mapping):
            return {name: cat([part[name] for part in parts]) for name in parts[0]}
        return None if parts[0] is None else torch.cat(parts)

    fields = [field.name for field in dataclasses.fields(PolicyOutput)]
    whole = PolicyOutput(**{name: cat([getattr(part, name) for part in found]) for name in fields})
    return moved(whole, rollout.tokens.device)


def own_episodes(rollout: Rollout) -> Rollout:
    """Return this process's own episodes of a rollout; there may be none."""
    return rollout.take(own_rows(len(rollout)).to(rollout.tokens.device))


def parted_transforms(
    transforms: Sequence[RolloutTransform],
) -> tuple[Sequence[RolloutTransform], Sequence[RolloutTransform]]:
    """Return the wrappers that each process can apply to its own episodes, and those outside.

    The outer ones begin with the first that does not say that it treats episodes apart.
    """
    # Of the class: Gymnasium's wrappers hand on the attributes of inner ones.
    apart = [bool(getattr(type(each), "treats_episodes_apart", False)) for each in transforms]
    inner = apart.index(False) if False in apart else len(apart)
    return transforms[:inner], transforms[inner:]


def moved(record: Record, device: torch.device | str) -> Record:
    """Return a record with its tensors on a device, without their gradient."""

    def move(value: Any) -> Any:
        if isinstance(value, Tensor):
            return value.detach().to(device)
        return value and {name: part.detach().to(device) for name, part in value.items()}

    fields = dataclasses.fields(record)
    return dataclasses.replace(
        record, **{field.name: move(getattr(record, field.name)) for field in fields}
    )
