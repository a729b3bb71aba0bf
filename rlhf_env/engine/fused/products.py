"""Products of states with weights, and their gradients by the weights."""

from __future__ import annotations

from torch import Tensor, addmm


def plus_product(hidden: Tensor, states: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return hidden + states · weightᵀ + bias, [T, N], of states [T, K] and a weight [N, K]."""
    total = addmm(hidden, states, weight.t())
    return total if bias is None else total.add_(bias)


def of_weight(
    gradient: Tensor, states: Tensor, needs: tuple[bool, ...]
) -> tuple[Tensor | None, Tensor | None]:
    """Return the gradients by weight and bias of a projection, where they are wanted.

    Args:
        gradient: by the product, [T, N].
        states: [T, K].
        needs: which of the two.
    """
    by_weight = gradient.t() @ states if needs[0] else None
    return by_weight, gradient.sum(dim=0) if needs[1] else None
