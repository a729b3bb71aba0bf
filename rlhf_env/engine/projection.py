"""Log-probability and entropy of distributions given by their logits, in little memory.

PyTorch would keep half a dozen tensors as large as the logits for the gradient. Here it is worked
out from the logits alone, a few rows at a time; where the output embedding is known too, from the
states that it projects, and all logits never exist at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from rlhf_env.engine.matmul import linear, times_weight

# Logits alive at once where all of them would be too many: 2^22 floats are 16 MiB.
_CHUNK_ELEMENTS = 2**22
# As many as stay in a CPU core's cache: 2^17 floats are half a MiB.
_CACHE_ELEMENTS = 2**17
# Replaces the logarithm of a probability of zero, whose share of the entropy is zero.
_LEAST = -1e4


def row_count(logits: Tensor) -> int:
    """Return how many rows of logits [N, V] to work on at a time.

    On a CPU fresh memory for all rows at once takes longer than the arithmetic.
    """
    return max(1, _CACHE_ELEMENTS // logits.shape[1]) if logits.is_cpu else max(1, len(logits))


def chunk_rows(vocab_size: int) -> int:
    """Return how many rows of logits may be alive at once."""
    return max(1, _CHUNK_ELEMENTS // vocab_size)


def logprob_and_entropy(
    logits: Tensor, targets: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """Return log softmax(logits / temperature) of one token per row, and the entropy, in nats.

    Args:
        logits: [N, V] float32.
        targets: [N] int64.
        temperature: divides the logits.

    Returns:
        [N] and [N], both with a gradient, which has no gradient itself.
    """
    return _Statistics.apply(logits, targets, temperature)  # type: ignore[return-value]


def project(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    temperature: float,
) -> tuple[Tensor, Tensor]:
    """Return what `logprob_and_entropy` does of the logits hidden · weightᵀ + bias.

    They are computed a chunk of rows at a time, and anew for the gradient.

    Args:
        hidden: [N, H].
        weight: [V, H].
        bias: [V].
        targets: [N] int64.
        temperature: divides the logits.
    """
    return _Projection.apply(hidden, weight, bias, targets, temperature)  # type: ignore[return-value]


class _Statistics(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, targets: Tensor, temperature: float
    ) -> tuple[Tensor, Tensor]:
        logprobs, entropies = _describe(logits, targets, temperature)
        ctx.save_for_backward(logits, targets, entropies)
        ctx.temperature = temperature
        ctx.set_materialize_grads(False)
        return logprobs, entropies

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor, None, None]:  # type: ignore[override]
        logits, targets, entropies = ctx.saved_tensors
        slopes = logits.clone()
        _grad_logits_(slopes, targets, entropies, gradients, ctx.temperature)
        return slopes, None, None


class _Projection(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        temperature: float,
    ) -> tuple[Tensor, Tensor]:
        kind = hidden.device.type
        is_mixed = torch.is_autocast_enabled(kind)
        ctx.dtype = torch.get_autocast_dtype(kind) if is_mixed else weight.dtype
        ctx.temperature = temperature
        ctx.set_materialize_grads(False)
        parts = [
            _describe(_logits(states, weight, bias, ctx.dtype), wanted, temperature)
            for states, wanted in _chunks(weight, hidden, targets)
        ]
        logprobs, entropies = (torch.cat(each) for each in zip(*parts, strict=True))
        ctx.save_for_backward(hidden, weight, bias, targets, entropies)
        return logprobs, entropies

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        hidden, weight, bias, targets, entropies = ctx.saved_tensors
        grad_hidden, grad_weight, grad_bias = (
            torch.zeros_like(each) if needed else None
            for each, needed in zip((hidden, weight, bias), ctx.needs_input_grad[:3], strict=True)
        )
        first = 0
        for states, wanted, uncertain in _chunks(weight, hidden, targets, entropies):
            rows = slice(first, first := first + len(states))
            slopes = _logits(states, weight, bias, ctx.dtype)
            given = [each if each is None else each[rows] for each in gradients]
            _grad_logits_(slopes, wanted, uncertain, given, ctx.temperature)
            if grad_bias is not None:
                grad_bias += slopes.sum(dim=0)
            slopes = slopes.to(ctx.dtype)
            if grad_hidden is not None:
                grad_hidden[rows] = times_weight(slopes, weight.to(ctx.dtype))
            if grad_weight is None:
                continue
            if slopes.dtype == states.dtype == grad_weight.dtype:
                grad_weight.addmm_(slopes.t(), states)
            else:
                grad_weight += slopes.t() @ states.to(ctx.dtype)
        return grad_hidden, grad_weight, grad_bias, None, None


def _chunks(weight: Tensor, *each: Tensor) -> Iterator[tuple[Tensor, ...]]:
    count = chunk_rows(len(weight))
    return zip(*(tensor.split(count) for tensor in each), strict=True)


def _logits(hidden: Tensor, weight: Tensor, bias: Tensor | None, dtype: torch.dtype) -> Tensor:
    """Return fresh logits in float32, computed in another type."""
    bias = bias if bias is None else bias.to(dtype)
    return linear(hidden.to(dtype), weight.to(dtype), bias).float()


def _describe(logits: Tensor, targets: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Return log q(a) and H = -Σ q log q of q = softmax(z / τ)."""
    logprobs, entropies = logits.new_empty(len(logits)), logits.new_empty(len(logits))
    for part in _parts(logits):
        logq = (logits[part] / temperature).log_softmax(dim=1)
        logprobs[part] = logq.gather(1, targets[part, None]).squeeze(1)
        q = logq.exp()
        entropies[part] = -torch.linalg.vecdot(q, logq.clamp_(min=_LEAST))
    return logprobs, entropies


def _grad_logits_(
    logits: Tensor,
    targets: Tensor,
    entropies: Tensor,
    gradients: Sequence[Tensor | None],
    temperature: float,
) -> None:
    """Overwrite logits z with the gradient, given those of log q(a) and of the entropy H.

    ∂ log q(a) / ∂z_i = (1{i = a} - q_i) / τ and ∂H / ∂z_i = -q_i (log q_i + H) / τ
    """
    grad_logprob, grad_entropy = gradients
    for part in _parts(logits):
        logq = logits[part].div_(temperature).log_softmax(dim=1)
        slope = torch.exp(logq, out=logits[part])
        weights = torch.zeros((), device=logits.device)
        if grad_entropy is not None:
            logq = logq.clamp_(min=_LEAST).add_(entropies[part, None])
            weights = logq.mul_(grad_entropy[part, None])
        if grad_logprob is not None:
            weights = weights + grad_logprob[part, None]
        slope.mul_(weights.neg())
        if grad_logprob is not None:
            slope.scatter_add_(1, targets[part, None], grad_logprob[part, None])
        slope.div_(temperature)


def _parts(logits: Tensor) -> Iterator[slice]:
    count = row_count(logits)
    return (slice(start, start + count) for start in range(0, len(logits), count))
