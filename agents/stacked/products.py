"""Products of the rows of several runs, each with the matrix of its own run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import linear

# Up to so many rows a library adds up their products one after the other, zeros at the end or not.
_ADDED_IN_TURN = 256


class RunRows:
    """Which rows belong to which run: first those of the first, then those of the second, ..."""

    def __init__(self, counts: Sequence[int], device: torch.device) -> None:
        """Take how many rows each of R runs has."""
        self.counts = list(counts)
        self.most = max(self.counts)
        self._index: Tensor | None = None
        if min(self.counts) < self.most:
            sizes = torch.tensor(self.counts, device=device)
            gaps = self.most * torch.arange(len(sizes), device=device) - (sizes.cumsum(0) - sizes)
            rows = torch.arange(sum(self.counts), device=device)
            self._index = rows + gaps.repeat_interleave(sizes, output_size=len(rows))

    def padded(self, rows: Tensor) -> Tensor:
        """Return [R, most, K] of [M, K], 0 where a run has no more rows."""
        runs, width = len(self.counts), rows.shape[1]
        if self._index is None:
            return rows.reshape(runs, self.most, width)
        blank = rows.new_zeros(runs * self.most, width)
        return blank.index_copy_(0, self._index, rows).view(runs, self.most, width)

    def flat(self, blocks: Tensor) -> Tensor:
        """Return [M, K] of [R, most, K], without what was filled up."""
        rows = blocks.reshape(-1, blocks.shape[2])
        return rows if self._index is None else rows.index_select(0, self._index)

    def split(self, rows: Tensor) -> tuple[Tensor, ...]:
        """Return the rows [M, K] of each run."""
        return rows.split(self.counts)


def linear_by_run(
    states: Tensor, weight: Tensor, bias: Tensor | None, rows: RunRows, *, is_one_hot: bool = False
) -> Tensor:
    """Return states · weightᵀ + bias of each row's own run, with a gradient.

    What is off in the last bit grows from step to step, so sums are in the order of a run alone:
    where a library takes another for a batch of products, there is one product for each run.

    Args:
        states: [M, K].
        weight: [R, N, K].
        bias: [R, N].
        rows: whose the M rows are.
        is_one_hot: whether each state is a 1 among zeros, so that no order matters.

    Returns:
        [M, N].
    """
    return _LinearByRun.apply(states, weight, bias, rows, is_one_hot)  # type: ignore[return-value]


class _LinearByRun(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        rows: RunRows,
        is_one_hot: bool,
    ) -> Tensor:
        blocks, matrices = rows.padded(states), weight.transpose(1, 2)
        ctx.save_for_backward(states, blocks, weight)
        ctx.rows, ctx.has_bias = rows, bias is not None
        if weight.shape[1] == 1 and not is_one_hot:
            biases = [None] * len(weight) if bias is None else bias.unbind()
            parts = zip(rows.split(states), weight.unbind(), biases, strict=True)
            return torch.cat([linear(*part) for part in parts])
        if bias is None:
            return rows.flat(torch.bmm(blocks, matrices))
        return rows.flat(torch.baddbmm(bias[:, None], blocks, matrices))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        states, blocks, weight = ctx.saved_tensors
        rows: RunRows = ctx.rows
        of_states = of_weight = of_bias = None
        slopes = rows.padded(gradient)
        if ctx.needs_input_grad[0]:
            of_states = rows.flat(torch.bmm(slopes, weight))
        if ctx.needs_input_grad[1]:
            if weight.shape[1] > 1 and rows.most <= _ADDED_IN_TURN:
                of_weight = torch.bmm(slopes.transpose(1, 2), blocks)
            else:
                pairs = zip(rows.split(gradient), rows.split(states), strict=True)
                of_weight = torch.stack([slope.t() @ each for slope, each in pairs])
        if ctx.has_bias and ctx.needs_input_grad[2]:
            of_bias = torch.stack([slope.sum(dim=0) for slope in rows.split(gradient)])
        return of_states, of_weight, of_bias, None, None
