"""Log-probability and entropy of distributions given by their logits, in little memory.

PyTorch would keep half a dozen tensors as large as the logits for the gradient. Here it is worked
out from the logits alone, a few rows at a time.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# As many as stay in a CPU core's cache: 2^17 floats are half a MiB.
_CACHE_ELEMENTS = 2**17
# Stands for the logarithm of a probability of zero, whose share of the entropy is zero.
_LEAST = -1e4


def row_count(logits: Tensor) -> int:
    """Return how many rows of logits [N, V] to work on at a time.

    On a CPU fresh memory for all rows at once takes longer than the arithmetic.
    """
    return max(1, _CACHE_ELEMENTS // logits.shape[1]) if logits.is_cpu else max(1, len(logits))


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


class _Statistics(torch.autograd.Function):
    """log q(a) and H = -Σ q log q of q = softmax(z / τ).

    ∂ log q(a) / ∂z_i = (1{i = a} - q_i) / τ and ∂H / ∂z_i = -q_i (log q_i + H) / τ
    """

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, targets: Tensor, temperature: float
    ) -> tuple[Tensor, Tensor]:
        logprobs, entropies = logits.new_empty(len(logits)), logits.new_empty(len(logits))
        for start in range(0, len(logits), row_count(logits)):
            part = slice(start, start + row_count(logits))
            logq = (logits[part] / temperature).log_softmax(dim=1)
            logprobs[part] = logq.gather(1, targets[part, None]).squeeze(1)
            q = logq.exp()
            entropies[part] = -torch.linalg.vecdot(q, logq.clamp_(min=_LEAST))
        ctx.save_for_backward(logits, targets, entropies)
        ctx.temperature = temperature
        return logprobs, entropies

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        logits, targets, entropies = ctx.saved_tensors
        of_logprob, of_entropy = (each[:, None] for each in gradients)
        found = torch.empty_like(logits)
        for start in range(0, len(logits), row_count(logits)):
            part = slice(start, start + row_count(logits))
            logq = (logits[part] / ctx.temperature).log_softmax(dim=1)
            q = logq.exp()
            slope = logq.clamp_(min=_LEAST).add_(entropies[part, None]).mul_(of_entropy[part])
            torch.mul(q, slope.add_(of_logprob[part]).neg_(), out=found[part])
        found.scatter_add_(1, targets[:, None], of_logprob)
        return found.div_(ctx.temperature), None, None
