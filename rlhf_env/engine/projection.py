"""Log-probability, entropy and normalizer of distributions given by logits, in little memory.

PyTorch would keep half a dozen tensors as large as the logits for the gradient. Here it is worked
out from the logits alone, a few rows at a time; where the output embedding is known too, from the
states that it projects, and all logits never exist at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

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


class Statistics(NamedTuple):
    """What is known of N distributions; all with a gradient, which has no gradient itself."""

    logprobs: Tensor
    """[N] log softmax(logits / temperature) of one token, in nats."""
    entropy: Tensor
    """[N] in nats."""
    log_normalizer: Tensor
    """[N] log Σ_v exp(logits_v / temperature)."""


def statistics(logits: Tensor, targets: Tensor, temperature: float) -> Statistics:
    """Return the statistics of softmax(logits / temperature), row by row.

    Args:
        logits: [N, V] float32.
        targets: [N] int64, the tokens whose log-probabilities are asked for.
        temperature: divides the logits.
    """
    return Statistics(*_Statistics.apply(logits, targets, temperature))  # type: ignore[misc]


def logprob_and_entropy(
    logits: Tensor, targets: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """Return the first two of `statistics`, [N] and [N]."""
    return statistics(logits, targets, temperature)[:2]


def project(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    temperature: float,
) -> Statistics:
    """Return what `statistics` does of the logits hidden · weightᵀ + bias.

    They are computed a chunk of rows at a time, and anew for the gradient.

    Args:
        hidden: [N, H].
        weight: [V, H].
        bias: [V].
        targets: [N] int64.
        temperature: divides the logits.
    """
    return Statistics(*_Projection.apply(hidden, weight, bias, targets, temperature))  # type: ignore[misc]


class _Statistics(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, targets: Tensor, temperature: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        logprobs, entropies, normalizers = _describe(logits, targets, temperature)
        ctx.save_for_backward(logits, targets, entropies, normalizers)
        ctx.temperature = temperature
        ctx.set_materialize_grads(False)
        return logprobs, entropies, normalizers

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor, None, None]:  # type: ignore[override]
        logits, targets, entropies, normalizers = ctx.saved_tensors
        slopes = logits.clone()
        _grad_logits_(slopes, targets, entropies, normalizers, gradients, ctx.temperature)
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
    ) -> tuple[Tensor, Tensor, Tensor]:
        kind = hidden.device.type
        is_mixed = torch.is_autocast_enabled(kind)
        ctx.dtype = torch.get_autocast_dtype(kind) if is_mixed else weight.dtype
        ctx.temperature = temperature
        ctx.set_materialize_grads(False)
        parts, logits = [], None
        for states, wanted in _chunks(weight, hidden, targets):
            logits = _logits(states, weight, bias, ctx.dtype)
            parts.append(_describe(logits, wanted, temperature))
        logprobs, entropies, normalizers = (torch.cat(each) for each in zip(*parts, strict=True))
        # Few logits are kept; more would need the memory that chunks are there to save.
        kept = logits if len(parts) == 1 else None
        ctx.save_for_backward(hidden, weight, bias, targets, entropies, normalizers, kept)
        return logprobs, entropies, normalizers

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        hidden, weight, bias, targets, entropies, normalizers, kept = ctx.saved_tensors
        grad_hidden, grad_weight, grad_bias = (
            torch.zeros_like(each) if needed else None
            for each, needed in zip((hidden, weight, bias), ctx.needs_input_grad[:3], strict=True)
        )
        first = 0
        each = hidden, targets, entropies, normalizers
        for states, wanted, uncertain, normal in _chunks(weight, *each):
            rows = slice(first, first := first + len(states))
            slopes = _logits(states, weight, bias, ctx.dtype) if kept is None else kept.clone()
            given = [each if each is None else each[rows] for each in gradients]
            _grad_logits_(slopes, wanted, uncertain, normal, given, ctx.temperature)
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


def _describe(logits: Tensor, targets: Tensor, temperature: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return log q(a), H = -Σ q log q and log Σ exp(z / τ), of q = softmax(z / τ)."""
    logprobs, entropies, normalizers = logits.new_empty((3, len(logits))).unbind()
    for part in _parts(logits):
        scaled = logits[part] if temperature == 1.0 else logits[part] / temperature
        largest = scaled.amax(dim=1, keepdim=True)
        # log q + log Σ: every exponential is computed once, and no logarithm but one a row.
        shifted = scaled - largest
        chosen = shifted.gather(1, targets[part, None]).squeeze(1)
        shifted.clamp_(min=_LEAST)
        weights = shifted.exp()
        total = weights.sum(dim=1)
        logarithm = total.log()
        logprobs[part] = chosen - logarithm
        entropies[part] = logarithm - torch.linalg.vecdot(weights, shifted) / total
        normalizers[part] = logarithm + largest.squeeze(1)
    return logprobs, entropies, normalizers


def _grad_logits_(
    logits: Tensor,
    targets: Tensor,
    entropies: Tensor,
    normalizers: Tensor,
    gradients: Sequence[Tensor | None],
    temperature: float,
) -> None:
    """Overwrite logits z with the gradient, given those of log q(a), the entropy H and log Z.

    ∂ log q(a) / ∂z_i = (1{i = a} - q_i) / τ, ∂H / ∂z_i = -q_i (log q_i + H) / τ and
    ∂ log Z / ∂z_i = q_i / τ

    Args:
        logits: [N, V] z.
        targets: [N] a.
        entropies: [N] H.
        normalizers: [N] log Z = log Σ exp(z / τ).
        gradients: of the loss by log q(a), by H and by log Z, [N] each or None.
        temperature: τ.
    """
    grad_logprob, grad_entropy, grad_normalizer = (
        each if each is None or temperature == 1.0 else each / temperature for each in gradients
    )
    # What every q_i is multiplied by, but for the entropy's share.
    common = grad_logprob
    if grad_normalizer is not None:
        common = -grad_normalizer if common is None else common - grad_normalizer
    for part in _parts(logits):
        slope = logits[part]
        if temperature != 1.0:
            slope.div_(temperature)
        slope.sub_(normalizers[part, None])
        if grad_entropy is None:
            slope.exp_()
            if common is not None:
                slope.mul_(common[part, None].neg())
        else:
            weights = slope.clamp(min=_LEAST).add_(entropies[part, None])
            weights.mul_(grad_entropy[part, None])
            if common is not None:
                weights.add_(common[part, None])
            slope.exp_().mul_(weights.neg_())
        if grad_logprob is not None:
            slope.scatter_add_(1, targets[part, None], grad_logprob[part, None])


def _parts(logits: Tensor) -> Iterator[slice]:
    count = row_count(logits)
    return (slice(start, start + count) for start in range(0, len(logits), count))
