"""The minimum of a smooth function of a few float64 tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def least(loss: Callable[[], Tensor], leaves: Sequence[Tensor]) -> float:
    """Move leaves to where a loss is least, from where they are on, and return it."""
    steps = torch.optim.LBFGS(
        leaves,
        max_iter=5000,
        tolerance_grad=1e-13,
        tolerance_change=1e-18,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        steps.zero_grad()
        found = loss()
        found.backward()
        return found

    for _ in range(5):
        steps.step(closure)
    return loss().item()
