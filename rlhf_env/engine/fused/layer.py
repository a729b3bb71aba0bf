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
from torch.nn.functional import linear

from rlhf_env.engine.fused.attention import PackedAttention
from rlhf_env.engine.fused.feed_forward import (
    FeedForwardStates,
    feed_forward,
    feed_forward_backward,
)
from rlhf_env.engine.fused.norm import normalize, normalize_backward_
from rlhf_env.engine.fused.products import of_weight, plus_product
from rlhf_env.engine.fused.weights import LayerShape, LayerWeights, turn_


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
        in_weight, in_bias, out_weight, out_bias, *after = weights
        assert in_weight is not None
        assert out_weight is not None
        normed, factors = normalize(hidden, shape.epsilon)
        states = linear(normed, in_weight, in_bias).unflatten(1, (-1, shape.head_dim))
        turn_(states[:, : shape.turned], turns)
        found, kept = attention.forward(states)
        asked = _taken(found, rows).flatten(1)
        middle = plus_product(_taken(hidden, rows), asked, out_weight, out_bias)
        output, of_after = feed_forward(middle, shape.epsilon, *after)
        ctx.shape, ctx.attention = shape, attention
        ctx.save_for_backward(
            *(in_weight, out_weight, *after[::2], turns, rows),
            *(normed, factors, states, found, *of_after.flat),
            *kept,
        )
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        in_weight, out_weight, gate_weight, up_weight, down_weight, *saved = ctx.saved_tensors
        turns, rows, normed, factors, states, found, *saved = saved
        second, second_factors, gate, up, *kept = saved
        needs = ctx.needs_input_grad
        of_middle, of_after = feed_forward_backward(
            gradient,
            FeedForwardStates(normed=second, factors=second_factors, gate=gate, up=up),
            *(gate_weight, up_weight, down_weight),
            needs[9:],
        )
        # The attention half.
        asked = _taken(found, rows)
        of_out = of_weight(of_middle, asked.flatten(1), needs[7:9])
        of_found = (of_middle @ out_weight).view_as(asked)
        if rows is not None:
            of_found = torch.zeros_like(found).index_copy_(0, rows, of_found)
        of_states = ctx.attention.backward(of_found, states, found, kept)
        turn_(of_states[:, : ctx.shape.turned], turns.conj())
        of_states = of_states.flatten(1)
        of_in = of_weight(of_states, normed, needs[5:7])
        of_hidden = None
        if needs[0]:
            of_normed = normalize_backward_(of_states @ in_weight, normed)
            if rows is None:
                of_hidden = of_middle.addcmul_(of_normed, factors)
            else:
                of_hidden = of_normed.mul_(factors).index_add_(0, rows, of_middle)
        return of_hidden, None, None, None, None, *of_in, *of_out, *of_after


def _taken(states: Tensor, rows: Tensor | None) -> Tensor:
    return states if rows is None else states.index_select(0, rows)
