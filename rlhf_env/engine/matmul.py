"""The product of states with a weight matrix, by whichever kernel is fastest for its size.

PyTorch hands float32 products on CPUs to one library, which copies a weight matrix into an order
of its own before it multiplies. For a few states at a time, as in decoding, that copy takes most
of the time; the transposed product needs none. For many states oneDNN, which PyTorch brings along,
is faster. The numbers agree up to rounding.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from rlhf_env.engine.compat import has_onednn, onednn_linear

# Below this many weights all kernels take about the same time.
_LARGE_WEIGHT = 2**16
# Multiplications from which on oneDNN takes less time, its fixed price included.
_LARGE_PRODUCT = 2**23


def linear(states: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return states · weightᵀ + bias, with a gradient, which has no gradient itself.

    Args:
        states: [..., K].
        weight: [N, K].
        bias: [N].

    Returns:
        [..., N].
    """
    if not _is_ours(states, weight):
        return functional.linear(states, weight, bias)
    is_large = _is_large(_count(states), weight)
    if torch.is_grad_enabled() and (states.requires_grad or weight.requires_grad):
        product = _LargeLinear.apply if is_large else functional.linear
        return product(states, weight, bias)  # type: ignore[return-value]
    return onednn_linear(states, weight, bias) if is_large else _transposed(states, weight, bias)


def times_columns(weight: Tensor, states: Tensor) -> Tensor:
    """Return weight · states, [N, M], without a gradient.

    Args:
        weight: [N, K].
        states: [K, M], as columns.
    """
    if _is_large(states.shape[1], weight) and _is_ours(states, weight):
        return onednn_linear(states.t(), weight, None).t()
    return weight @ states


def add_times_columns_(total: Tensor, weight: Tensor, states: Tensor) -> None:
    """Add to a total [N, M] what `times_columns` returns."""
    if _is_large(states.shape[1], weight):
        total.add_(times_columns(weight, states))
    else:
        total.addmm_(weight, states)


def times_weight(gradients: Tensor, weight: Tensor) -> Tensor:
    """Return gradients · weight, [..., K]: what `linear` hands back to its states.

    Args:
        gradients: [..., N].
        weight: [N, K].
    """
    if _is_ours(gradients, weight) and _is_large(_count(gradients), weight):
        return onednn_linear(gradients, weight.t(), None)
    return gradients @ weight


def is_large_weight(weight: Tensor) -> bool:
    """Return whether a kernel other than PyTorch's choice can repay its overhead."""
    return weight.numel() >= _LARGE_WEIGHT


def _is_ours(states: Tensor, weight: Tensor) -> bool:
    return (
        is_large_weight(weight)
        and states.dtype == weight.dtype == torch.float32
        and states.device.type == weight.device.type == "cpu"
        and not torch.is_autocast_enabled("cpu")
    )


def _count(states: Tensor) -> int:
    return states.numel() // states.shape[-1]


def _is_large(count: int, weight: Tensor) -> bool:
    return count * weight.numel() >= _LARGE_PRODUCT and has_onednn()


def _transposed(states: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    rows = states.reshape(-1, states.shape[-1])
    product = (weight @ rows.t()).t()
    return (product if bias is None else product + bias).view(*states.shape[:-1], -1)


class _LargeLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(states, weight)
        return onednn_linear(states, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        states, weight = ctx.saved_tensors
        rows = gradient.reshape(-1, gradient.shape[-1])
        of_states = of_weight = of_bias = None
        if ctx.needs_input_grad[0]:
            of_states = times_weight(gradient, weight)
        if ctx.needs_input_grad[1]:
            of_weight = rows.t() @ states.reshape(-1, states.shape[-1])
        if ctx.needs_input_grad[2]:
            of_bias = rows.sum(dim=0)
        return of_states, of_weight, of_bias
