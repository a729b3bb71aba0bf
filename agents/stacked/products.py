"""Products of the rows of several runs, each with the matrix of its own run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import linear


def linear_by_run(
    states: Tensor, weight: Tensor, bias: Tensor | None, counts: Sequence[int]
) -> Tensor:
    """Return states · weightᵀ + bias of each row's own run, with a gradient.

    One small product for each run, as a run alone would make it: a batched product would add up in
    another order, and what is off in the last bit grows from step to step.

    Args:
        states: [M, K] those of the first run, then those of the second, and so on.
        weight: [R, N, K].
        bias: [R, N].
        counts: how many of the rows each of the R runs has.

    Returns:
        [M, N].
    """
    return _LinearByRun.apply(states, weight, bias, counts)  # type: ignore[return-value]


class _LinearByRun(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, states: Tensor, weight: Tensor, bias: Tensor | None, counts: Sequence[int]
    ) -> Tensor:
        ctx.save_for_backward(states, weight)
        ctx.counts, ctx.has_bias = list(counts), bias is not None
        biases = [None] * len(weight) if bias is None else bias.unbind()
        parts = zip(states.split(ctx.counts), weight.unbind(), biases, strict=True)
        return torch.cat([linear(*part) for part in parts])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        states, weight = ctx.saved_tensors
        slopes = gradient.split(ctx.counts)
        of_states = of_weight = of_bias = None
        if ctx.needs_input_grad[0]:
            pairs = zip(slopes, weight.unbind(), strict=True)
            of_states = torch.cat([slope @ each for slope, each in pairs])
        if ctx.needs_input_grad[1]:
            pairs = zip(slopes, states.split(ctx.counts), strict=True)
            of_weight = torch.stack([slope.t() @ each for slope, each in pairs])
        if ctx.has_bias and ctx.needs_input_grad[2]:
            of_bias = torch.stack([slope.sum(dim=0) for slope in slopes])
        return of_states, of_weight, of_bias, None
