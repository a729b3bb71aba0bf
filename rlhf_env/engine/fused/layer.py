"""A layer of the Llama family on finished texts, with a gradient worked out by hand.

PyTorch would note down and keep each of some sixty operations of a layer's modules. Here a layer is
one: projections of the same states are one product, a rotation is one product of complex numbers,
sums are added by the product that makes the summand, and only what the gradient needs is kept.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import linear, silu

from rlhf_env.engine.fused.attention import PackedAttention
from rlhf_env.engine.fused.weights import LayerShape, LayerWeights, turn_

_silu_backward = torch.ops.aten.silu_backward.grad_input


def run_layer(
    hidden: Tensor,
    weights: LayerWeights,
    shape: LayerShape,
    attention: PackedAttention,
    turns: Tensor,
    rows: Tensor | None = None,
) -> Tensor:
    """Return what a layer makes of the residual stream, [T, H], with a first derivative.

    Args:
        hidden: [T, H].
        weights: of the layer.
        shape: of all layers.
        attention: where the texts are.
        turns: of the rotary embedding, [T, 1, D / 2].
        rows: [M] different tokens, all that is asked for: [M, H] is returned. All when None.
    """
    return _Layer.apply(hidden, turns, rows, shape, attention, *weights.flat)  # type: ignore[return-value]


def normalize(hidden: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """Return [T, H] over its root mean square, and the factors [T, 1] that made it so."""
    length = torch.linalg.vector_norm(hidden, dim=-1, keepdim=True)
    factors = length.square_().div_(hidden.shape[-1]).add_(epsilon).rsqrt_()
    return hidden * factors, factors


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
        return _normalize_backward(gradient.clone(), normed).mul_(factors), None


class _Layer(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        turns: Tensor,
        rows: Tensor | None,
        shape: LayerShape,
        attention: PackedAttention,
        *weights: Tensor | None,
    ) -> Tensor:
        in_weight, in_bias, out_weight, out_bias, up_weight, up_bias, down_weight, down_bias = (
            weights
        )
        assert in_weight is not None
        assert out_weight is not None
        assert up_weight is not None
        assert down_weight is not None
        normed, factors = normalize(hidden, shape.epsilon)
        states = linear(normed, in_weight, in_bias).unflatten(1, (-1, shape.head_dim))
        turn_(states[:, : shape.turned], turns)
        found, kept = attention.forward(states)
        asked = _taken(found, rows).flatten(1)
        middle = _plus_product(_taken(hidden, rows), asked, out_weight, out_bias)
        second, second_factors = normalize(middle, shape.epsilon)
        both = linear(second, up_weight, up_bias)
        gate, up = both.chunk(2, dim=-1)
        active = silu(gate)
        product = active * up
        ctx.shape, ctx.attention, ctx.count = shape, attention, len(kept)
        ctx.save_for_backward(
            *(in_weight, out_weight, up_weight, down_weight, turns, rows),
            *(normed, factors, states, found, second, second_factors, both, active, product),
            *kept,
        )
        return _plus_product(middle, product, down_weight, down_bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        in_weight, out_weight, up_weight, down_weight, turns, rows, *saved = ctx.saved_tensors
        normed, factors, states, found, second, second_factors, both, active, product = saved[:9]
        needs = ctx.needs_input_grad
        of_weights: list[Tensor | None] = [None] * 8
        gate, up = both.chunk(2, dim=-1)
        # The feed-forward half.
        of_weights[6:] = _of_weight(gradient, product, needs[11:])
        of_product = gradient @ down_weight
        of_both = torch.empty_like(both)
        of_gate, of_up = of_both.chunk(2, dim=-1)
        torch.mul(of_product, active, out=of_up)
        _silu_backward(of_product.mul_(up), gate, grad_input=of_gate)
        of_weights[4:6] = _of_weight(of_both, second, needs[9:11])
        of_second = _normalize_backward(of_both @ up_weight, second)
        of_middle = torch.addcmul(gradient, of_second, second_factors)
        # The attention half.
        asked = _taken(found, rows)
        of_weights[2:4] = _of_weight(of_middle, asked.flatten(1), needs[7:9])
        of_found = (of_middle @ out_weight).view_as(asked)
        if rows is not None:
            of_found = torch.zeros_like(found).index_copy_(0, rows, of_found)
        of_states = ctx.attention.backward(of_found, states, found, saved[9:])
        turn_(of_states[:, : ctx.shape.turned], turns.conj())
        of_states = of_states.flatten(1)
        of_weights[:2] = _of_weight(of_states, normed, needs[5:7])
        of_hidden = None
        if needs[0]:
            of_normed = _normalize_backward(of_states @ in_weight, normed)
            if rows is None:
                of_hidden = of_middle.addcmul_(of_normed, factors)
            else:
                of_hidden = of_normed.mul_(factors).index_add_(0, rows, of_middle)
        return of_hidden, None, None, None, None, *of_weights


def _taken(states: Tensor, rows: Tensor | None) -> Tensor:
    return states if rows is None else states.index_select(0, rows)


def _plus_product(hidden: Tensor, states: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    total = torch.addmm(hidden, states, weight.t())
    return total if bias is None else total.add_(bias)


def _of_weight(
    gradient: Tensor, states: Tensor, needs: tuple[bool, ...]
) -> tuple[Tensor | None, Tensor | None]:
    """Return the gradients by weight and bias of a projection, where they are wanted."""
    of_weight = gradient.t() @ states if needs[0] else None
    return of_weight, gradient.sum(dim=0) if needs[1] else None


def _normalize_backward(gradient: Tensor, normed: Tensor) -> Tensor:
    """Turn the gradient by normalized states into that by the states, but for the factors."""
    shares = torch.linalg.vecdot(gradient, normed).div_(-normed.shape[-1])
    return gradient.addcmul_(normed, shares[:, None])
