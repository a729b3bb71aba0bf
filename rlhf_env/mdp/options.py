"""The options of ``gym.make("RLHF-v0")``, checked before any model is loaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from rlhf_env.checks import check_choice, check_count, check_number, did_you_mean
from rlhf_env.defaults import KL_PENALTIES, LENGTH_LIMITS
from rlhf_env.engine.placement import resolve_device, resolve_dtype

Policy = Callable[[Tensor, Tensor], Tensor]


class UnknownOptionError(TypeError, ValueError):
    """An option of ``gym.make`` that does not exist.

    A TypeError as Python raises for an unexpected keyword argument, by which other libraries find
    out what an environment takes, and a ValueError like every other option that cannot be used.
    """


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of the MDP; None means the task's own value."""

    kl_coef: float | None = None
    """Beta >= 0, the weight of the KL penalty."""
    kl_penalty: str = "reference"
    """Who supplies log pi: "reference" (the agent does, later), "sampled" (the action carries it,
    or ``policy``), "exact" (``policy``, over the vocabulary).
    """
    policy: Policy | None = None
    """``policy(input_ids [B, L], attention_mask [B, L]) -> logits [B, V]``."""
    max_new_tokens: int | None = None
    """T, the horizon."""
    length_limit: str = "score"
    """What reaching T without EOS means: "score" (terminated and scored), "penalize" (the same,
    minus ``missing_eos_penalty``), "bootstrap" (truncated, no score).
    """
    missing_eos_penalty: float = 1.0
    """For "penalize", in units of the score."""
    device: str | torch.device = "auto"
    """Where reference and reward run; "auto" takes a GPU if there is one."""
    dtype: str | torch.dtype = "auto"
    """Of the reference; "auto" keeps the type that its weights have."""

    def __post_init__(self) -> None:
        """Refuse values outside their range, and options that contradict each other."""
        if self.kl_coef is not None:
            check_number("kl_coef", self.kl_coef, minimum=0.0)
        check_number("missing_eos_penalty", self.missing_eos_penalty, minimum=0.0)
        check_choice("kl_penalty", self.kl_penalty, KL_PENALTIES)
        check_choice("length_limit", self.length_limit, LENGTH_LIMITS)
        if self.max_new_tokens is not None:
            check_count("max_new_tokens", self.max_new_tokens)
        if self.policy is not None and not callable(self.policy):
            raise ValueError(
                "policy must be a function of input_ids and attention_mask, "
                f"got {type(self.policy).__name__}"
            )
        if self.kl_penalty == "exact" and self.policy is None:
            raise ValueError(
                'kl_penalty="exact" needs policy=, got None; pass the policy\'s logits'
            )
        if self.kl_penalty == "reference" and self.policy is not None:
            raise ValueError(
                'policy is not used by kl_penalty="reference", got one; '
                'choose "sampled" or "exact", or leave policy out'
            )
        self.resolve_device()
        self.resolve_dtype()

    @property
    def includes_policy_logprob(self) -> bool:
        """Whether rewards hold log pi(a|s) too, and not the reference's part of the KL alone."""
        return self.kl_penalty != "reference"

    def resolve_device(self) -> torch.device:
        """Return the device that ``device`` names.

        Raises:
            ValueError: if there is no such device.
        """
        return resolve_device(self.device)

    def resolve_dtype(self) -> torch.dtype | None:
        """Return the type that ``dtype`` names; None for "auto".

        Raises:
            ValueError: if it does not name a floating-point type.
        """
        return resolve_dtype(self.dtype)


def make_options(options: dict[str, Any]) -> Options:
    """Return the checked options of ``gym.make``.

    Raises:
        UnknownOptionError: if there is no such option.
        ValueError: if a value cannot be used.
    """
    known = [field.name for field in fields(Options)]
    for name in options:
        if name not in known:
            hint = did_you_mean(name, known) or f"; there are {known}"
            raise UnknownOptionError(
                f"RLHF-v0 has no option {name!r}{hint} (got an unexpected keyword argument "
                f"{name!r})"
            )
    return Options(**options)
