"""Root mean square norms without their weights, forward and backward."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def normalize(hidden: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """Return [T, H] over its root mean square, and the factors [T, 1] that made it so."""
    length = torch.linalg.vector_norm(hidden, dim=-1, keepdim=True)
    factors = length.square_().div_(hidden.shape[-1]).add_(epsilon).rsqrt_()
    return hidden * factors, factors


def normalize_backward_(gradient: Tensor, normed: Tensor) -> Tensor:
    """Turn the gradient by normalized states into that by the states, but for the factors.

    Args:
        gradient: [T, H], overwritten.
        normed: [T, H] the normalized states.
    """
    shares = torch.linalg.vecdot(gradient, normed).div_(-normed.shape[-1])
    return gradient.addcmul_(normed, shares[:, None])


class RootMeanSquareNorm(torch.autograd.Function):
    """`normalize`, with a gradient."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, epsilon: float) -> Tensor:
        """Return the normalized states."""
        normed, factors = normalize(hidden, epsilon)
        ctx.save_for_backward(normed, factors)
        return normed

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        """Return the gradient by the states."""
        normed, factors = ctx.saved_tensors
        return normalize_backward_(gradient.clone(), normed).mul_(factors), None
