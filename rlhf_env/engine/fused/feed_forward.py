"""The feed-forward half of a layer, forward and backward.

Its states are several times as wide as the residual stream, and waiting for memory is what they
cost: only gates and values are kept for the gradient, and their product is made again.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import linear, silu

from rlhf_env.engine.fused.norm import normalize, normalize_backward_
from rlhf_env.engine.fused.products import of_weight, plus_product

_silu_backward = torch.ops.aten.silu_backward.grad_input


@dataclass(frozen=True, kw_only=True)
class FeedForwardStates:
    """What the gradient needs."""

    normed: Tensor
    """[T, H]."""
    factors: Tensor
    """[T, 1] of the norm."""
    gate: Tensor
    """[T, I]."""
    up: Tensor
    """[T, I]."""

    @property
    def flat(self) -> tuple[Tensor, ...]:
        """All of them, in this order."""
        return self.normed, self.factors, self.gate, self.up


def feed_forward(
    hidden: Tensor, epsilon: float, *weights: Tensor | None
) -> tuple[Tensor, FeedForwardStates]:
    """Return the residual stream [T, H] after the half-layer, and what its gradient needs.

    Args:
        hidden: [T, H] the residual stream before.
        epsilon: of the norm.
        *weights: weight and bias each of gate and up, [I, H] and [I], and of down, [H, I] and [H].
    """
    gate_weight, gate_bias, up_weight, up_bias, down_weight, down_bias = weights
    assert gate_weight is not None
    assert up_weight is not None
    assert down_weight is not None
    normed, factors = normalize(hidden, epsilon)
    gate, up = linear(normed, gate_weight, gate_bias), linear(normed, up_weight, up_bias)
    found = plus_product(hidden, silu(gate).mul_(up), down_weight, down_bias)
    return found, FeedForwardStates(normed=normed, factors=factors, gate=gate, up=up)


def feed_forward_backward(
    gradient: Tensor,
    states: FeedForwardStates,
    gate_weight: Tensor,
    up_weight: Tensor,
    down_weight: Tensor,
    needs: tuple[bool, ...],
) -> tuple[Tensor, list[Tensor | None]]:
    """Return the gradients by the residual stream before, [T, H], and by the weights, as given.

    Args:
        gradient: by the residual stream after, [T, H].
        states: that `feed_forward` returned.
        gate_weight: [I, H].
        up_weight: [I, H].
        down_weight: [H, I].
        needs: which of the weights' six gradients are wanted; the others are None.
    """
    active, of_product = silu(states.gate), gradient @ down_weight
    of_up = of_product * active
    of_down = of_weight(gradient, active.mul_(states.up), needs[4:])
    of_active = of_product.mul_(states.up)
    of_gate = _silu_backward(of_active, states.gate, grad_input=of_active)
    of_normed = (of_gate @ gate_weight).addmm_(of_up, up_weight)
    of_weights = [
        *of_weight(of_gate, states.normed, needs[:2]),
        *of_weight(of_up, states.normed, needs[2:4]),
        *of_down,
    ]
    of_hidden = normalize_backward_(of_normed, states.normed)
    return torch.addcmul(gradient, of_hidden, states.factors), of_weights
