"""An optimizer's state as tensors and numbers by name, and back."""

from __future__ import annotations

from typing import Any

import torch


def optimizer_state(
    optimizer: torch.optim.Optimizer,
) -> tuple[dict[str, torch.Tensor], dict[str, float]]:
    """Return the moments by "index.name", and the entries that are not tensors."""
    tensors, scalars = {}, {}
    for index, moments in optimizer.state_dict()["state"].items():
        for name, value in moments.items():
            if isinstance(value, torch.Tensor):
                tensors[f"{index}.{name}"] = value.contiguous()
            else:
                scalars[f"{index}.{name}"] = value
    return tensors, scalars


def restore_optimizer(
    optimizer: torch.optim.Optimizer,
    tensors: dict[str, torch.Tensor],
    scalars: dict[str, float],
) -> None:
    """Put back what `optimizer_state` returned; the settings of the groups stay as they are."""
    state: dict[int, dict[str, Any]] = {}
    for key, value in (tensors | scalars).items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
