"""Rows of rollouts: taken out, narrowed to their tokens, moved to a device, put together."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from rlhf_env.rollout import Rollout


def narrowed(rollout: Rollout) -> Rollout:
    """Return episodes without the columns that are padding in all rows."""
    width = int(rollout.lengths.max())

    def cut(part: Tensor, name: str) -> Tensor:
        return part[:, :width] if part.dim() == 2 and name != "preference" else part

    return _each(rollout, cut)


def on_device(rollout: Rollout, device: torch.device) -> Rollout:
    """Return episodes on a device."""
    return _each(rollout, lambda part, _: part.to(device))


def copied(rollout: Rollout) -> Rollout:
    """Return a detached copy on the CPU, which nothing else can change."""
    return _each(rollout, lambda part, _: part.detach().to("cpu", copy=True).contiguous())


def fields_of(rollout: Rollout) -> dict[str, Tensor]:
    """Return all tensors of a rollout by name; a reward term is "reward_terms.NAME"."""
    found: dict[str, Tensor] = {}
    for field in dataclasses.fields(rollout):
        value = getattr(rollout, field.name)
        if isinstance(value, Mapping):
            found |= {f"{field.name}.{name}": part for name, part in value.items()}
        elif value is not None:
            found[field.name] = value
    return found


def from_fields(tensors: Mapping[str, Tensor]) -> Rollout:
    """Return the rollout whose `fields_of` are these.

    Raises:
        TypeError: if a field is missing or unknown.
        ValueError: if they disagree in shape.
    """
    plain = {name: part for name, part in tensors.items() if "." not in name}
    prefix = "reward_terms."
    terms = {n.removeprefix(prefix): p for n, p in tensors.items() if n.startswith(prefix)}
    return Rollout(**plain, reward_terms=terms)


def present_beta(rollout: Rollout, kl_coef: float) -> Rollout:
    """Return episodes as if their KL had been paid with another coefficient.

    The environment's term is beta log pi_ref(a|s), less beta log pi(a|s) of the policy that sampled
    where it includes that; so the difference of the betas times the same is added. What wrappers
    made of the term stays.

    Args:
        rollout: paid episodes that say what beta they were paid with.
        kl_coef: beta.
    """
    paid, includes = rollout.kl_coef, rollout.includes_policy_logprob
    assert paid is not None and includes is not None, "the buffer holds paid episodes"
    change = kl_coef - paid
    if not change.any():
        return rollout
    sampled = torch.where(includes[:, None], rollout.logprobs, 0.0)
    term = rollout.reward_terms["kl"] + change[:, None] * (rollout.ref_logprobs - sampled)
    return rollout.with_term("kl", term).replace(kl_coef=torch.full_like(paid, kl_coef))


def _each(rollout: Rollout, change: Callable[[Tensor, str], Tensor]) -> Rollout:
    changed: dict[str, Any] = {}
    for field in dataclasses.fields(rollout):
        value = getattr(rollout, field.name)
        if isinstance(value, Mapping):
            changed[field.name] = {k: change(part, field.name) for k, part in value.items()}
        else:
            changed[field.name] = value if value is None else change(value, field.name)
    return Rollout(**changed)
