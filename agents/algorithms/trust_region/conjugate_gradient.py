"""The natural direction of a trust region: linear systems known by their products alone."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Product = Callable[[Tensor], Tensor]


def conjugate_gradient(
    product: Product, right: Tensor, iterations: int, tolerance: float = 1e-10
) -> Tensor:
    """Solve A x = b for a symmetric positive matrix (Hestenes and Stiefel, 1952).

    Args:
        product: x [n] -> A x [n].
        right: b, [n].
        iterations: maximum number of products; n solve the system up to rounding.
        tolerance: stop when |b - A x|² is less than this share of |b|².

    Returns:
        [n] x; zeros where b is zero.
    """
    solution, residual, direction = torch.zeros_like(right), right.clone(), right.clone()
    squared = residual.square().sum()
    enough = tolerance * squared
    for _ in range(iterations):
        if squared <= enough:
            break
        curved = product(direction)
        length = squared / (direction * curved).sum()
        solution = solution + length * direction
        residual = residual - length * curved
        previous, squared = squared, residual.square().sum()
        direction = residual + squared / previous * direction
    return solution


def step_scale(direction: Tensor, curved: Tensor, max_kl: float) -> float:
    """Return how far a direction can be followed until the quadratic KL is ``max_kl``.

    √(2 δ / xᵀAx)   (arXiv:1502.05477, appendix C)

    Args:
        direction: x, [n].
        curved: A x, [n], damping included.
        max_kl: δ, in nats.

    Returns:
        The scale; 0 where the direction has no length or is not a number.
    """
    curvature = float((direction * curved).sum())
    return (2.0 * max_kl / curvature) ** 0.5 if curvature > 0 else 0.0
