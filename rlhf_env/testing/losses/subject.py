"""A trainer's function of plain tensors, described so that checks can call it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from rlhf_env.testing.claims import NotApplicable

ATOL = 1e-5
Numbers = Tensor | float | list[float] | list[list[float]]
# What each kind of function is called with; docs/conformance.md has shapes and meanings.
INPUTS: dict[str, tuple[str, ...]] = {
    "policy_loss": ("logprobs", "old_logprobs", "advantages", "mask"),
    "kl": ("logprobs", "ref_logprobs"),
    "gae": ("rewards", "values", "mask", "bootstrap", "gamma", "gae_lambda"),
    "group_advantages": ("scores", "group"),
    "whiten": ("values", "mask"),
    "pair_loss": ("chosen", "rejected", "ref_chosen", "ref_rejected"),
    "value_loss": ("values", "old_values", "returns", "mask"),
    "token_logprobs": ("logits", "tokens"),
}


@dataclass(frozen=True, kw_only=True)
class TrainerLoss:
    """A function of tensors, and how its arguments are called."""

    function: Callable[..., Any]
    """Returns a tensor, or a tuple that begins with it."""
    kind: str = "policy_loss"
    """A key of `INPUTS`."""
    names: Mapping[str, str | None] = field(default_factory=dict)
    """Our name of an argument -> the function's; None leaves the argument out."""
    form: str | None = None
    """What the function says of itself; None lets a check name what it finds. policy_loss:
    "token_mean", "episode_mean" or "constant", how it weighs lengths; kl: "k1", "k2", "k3";
    group_advantages: "sample_std", "population_std", "centered", "leave_one_out"; whiten:
    "sample_std", "population_std"; pair_loss: a key of `pair_loss.LITERALS`."""
    role: str | None = None
    """kl: "loss" where it is added to the loss with its gradient."""
    totals: bool = False
    """policy_loss: it also takes ``total_tokens`` and ``total_rows`` of the whole batch, of which
    it sees a part."""
    per_token: bool = True
    """policy_loss: advantages may differ between the tokens of a row."""
    clip: float | None = 0.2
    """policy_loss and value_loss: how far from the old value it clips; None: not."""
    mask_dtype: torch.dtype = torch.bool
    """Of the mask that the function takes."""
    adjacent: bool = False
    """group_advantages: the rows of a group must follow each other, all groups of one size."""

    def __post_init__(self) -> None:
        """Refuse an unknown kind and unknown names."""
        if self.kind not in INPUTS:
            raise ValueError(f"kind must be one of {', '.join(INPUTS)}, got {self.kind!r}")
        known = (*INPUTS[self.kind], "total_tokens", "total_rows")
        for name in self.names:
            if name not in known:
                raise ValueError(
                    f"names must rename arguments of {self.kind}, got {name!r}; "
                    f"choose from {', '.join(known)}"
                )

    def __call__(self, **inputs: Any) -> Tensor:
        """Call the function by its own names and return the tensor that it returns first."""
        given: dict[str, Any] = {}
        for name, value in inputs.items():
            theirs = self.names.get(name, name)
            if theirs is not None:
                is_mask = name == "mask"
                given[theirs] = value.to(self.mask_dtype) if is_mask else value
        answer = self.function(**given)
        found = answer[0] if isinstance(answer, tuple | list) else answer
        if not isinstance(found, Tensor):
            raise AssertionError(f"it returned {type(found).__name__}, not a tensor")
        return found

    def takes(self, name: str) -> bool:
        """Return whether an argument reaches the function."""
        return self.names.get(name, name) is not None

    def only(self, *forms: str | None) -> None:
        """Raise NotApplicable unless the function says that it is of one of these forms."""
        if self.form not in forms:
            raise NotApplicable(f"for {' and '.join(map(str, forms))} only, not {self.form}")


def far(found: Tensor, expected: Numbers, atol: float = ATOL) -> str | None:
    """Return what differs by more than ``atol``, or None."""
    due = torch.as_tensor(expected, dtype=torch.float64)
    got = found.detach().double()
    if got.shape != due.shape:
        return f"shape {list(got.shape)}, expected {list(due.shape)}"
    if bool(((got - due).abs() <= atol).all()):
        return None
    return f"{plain(got)}, expected {plain(due)}"


def plain(values: Tensor) -> str:
    """Return numbers with six digits, as a list."""
    return str([round(float(value), 6) for value in values.detach().flatten()])


def same(found: Tensor, expected: Numbers, what: str, atol: float = ATOL) -> None:
    """Raise AssertionError naming what differs."""
    difference = far(found, expected, atol)
    if difference is not None:
        raise AssertionError(f"{what}: {difference}")
