"""The options of ``gym.make("RLHF-v0")``, checked before any model is loaded."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Policy = Callable[[Tensor, Tensor], Tensor]

_KL_PENALTIES = ("reference", "sampled", "exact")
_LENGTH_LIMITS = ("score", "penalize", "bootstrap")


@dataclass(frozen=True, kw_only=True)
class Options:
    """What may be chosen about the MDP; None means the task's own value.

    Attributes:
        kl_coef: beta >= 0, the weight of the KL penalty.
        kl_penalty: who supplies log pi: "reference" (the agent does, later), "sampled" (the
            action carries it, or ``policy``), "exact" (``policy``, over the vocabulary).
        policy: ``policy(input_ids [B, L], attention_mask [B, L]) -> logits [B, V]``.
        max_new_tokens: T, the horizon.
        length_limit: what reaching T without EOS means: "score" (terminated and scored),
            "penalize" (the same, minus ``missing_eos_penalty``), "bootstrap" (truncated, no
            score).
        missing_eos_penalty: for "penalize", in units of the score.
        device: where reference and reward run; "auto" takes a GPU if there is one.
        dtype: of the reference; "auto" keeps the type that its weights have.
    """

    kl_coef: float | None = None
    kl_penalty: str = "reference"
    policy: Policy | None = None
    max_new_tokens: int | None = None
    length_limit: str = "score"
    missing_eos_penalty: float = 1.0
    device: str | torch.device = "auto"
    dtype: str | torch.dtype = "auto"

    def __post_init__(self) -> None:
        """Refuse values outside their range, and options that contradict each other."""
        if self.kl_coef is not None:
            check_number("kl_coef", self.kl_coef, minimum=0.0)
        check_number("missing_eos_penalty", self.missing_eos_penalty, minimum=0.0)
        check_choice("kl_penalty", self.kl_penalty, _KL_PENALTIES)
        check_choice("length_limit", self.length_limit, _LENGTH_LIMITS)
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

    def resolve_device(self) -> torch.device:
        """Return the device that ``device`` names.

        Raises:
            ValueError: if there is no such device.
        """
        if self.device == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        try:
            device = torch.device(self.device)
        except (RuntimeError, TypeError) as error:
            raise ValueError(
                f'device must be "auto", "cpu" or "cuda", got {self.device!r}'
            ) from error
        if device.type == "cuda" and not torch.cuda.is_available():
            raise ValueError(f'device is {self.device!r}, but there is no GPU here; use "cpu"')
        return device

    def resolve_dtype(self) -> torch.dtype | None:
        """Return the type that ``dtype`` names; None for "auto".

        Raises:
            ValueError: if it names no floating-point type.
        """
        if self.dtype == "auto":
            return None
        dtype = getattr(torch, self.dtype, None) if isinstance(self.dtype, str) else self.dtype
        if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
            raise ValueError(f'dtype must be "auto", "float32" or "bfloat16", got {self.dtype!r}')
        return dtype


def check_number(
    name: str, value: Any, *, minimum: float = -math.inf, maximum: float = math.inf
) -> None:
    """Raise ValueError unless ``value`` is a finite number within bounds."""
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or not minimum <= float(value) <= maximum:
        bounds = f"a finite number >= {minimum:g}"
        if maximum < math.inf:
            bounds = f"a number in [{minimum:g}, {maximum:g}]"
        raise ValueError(f"{name} must be {bounds}, got {value!r}")


def check_positive(name: str, value: Any) -> None:
    """Raise ValueError unless ``value`` is a finite number above 0."""
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or value <= 0:
        raise ValueError(f"{name} must be a finite number greater than 0, got {value!r}")


def check_count(name: str, value: Any, minimum: int = 1) -> None:
    """Raise ValueError unless ``value`` is an integer >= ``minimum``."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < minimum:
        raise ValueError(f"{name} must be an integer >= {minimum}, got {value!r}")


def check_choice(name: str, value: Any, choices: tuple[str, ...]) -> None:
    """Raise ValueError unless ``value`` is one of some names."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {list(choices)}, got {value!r}")
