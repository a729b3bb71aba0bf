"""Numbers of whole next-token distributions, a chunk of positions at a time.

Only what `logprob_and_entropy` has not: how far a policy is from another model in every state, and
how concentrated it is. Logits of all positions never exist at once.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from rlhf_env.engine.language_model import LanguageModel
from rlhf_env.engine.projection import chunk_rows, row_count
from rlhf_env.kl import exact_kl


def next_token_kl(
    first: LanguageModel,
    second: LanguageModel,
    first_hidden: Tensor,
    second_hidden: Tensor,
    temperature: float,
) -> Tensor:
    """Return KL(first || second) of the next token over the whole vocabulary, in nats.

    Σ_v p(v) (log p(v) − log q(v)); its gradient goes to the second model alone, (q − p) / τ for
    each logit. With the reference first this is the sequential KL of TDPO (arXiv:2404.11999).

    Args:
        first: p's model; it gets no gradient.
        second: q's model, of the same vocabulary.
        first_hidden: [M, H] trunk outputs of the first model.
        second_hidden: [M, H'] of the second at the same positions.
        temperature: τ, divides the logits of both.

    Returns:
        [M] float32; inf where the first allows a token that the second forbids.
    """

    def of_chunk(ours: Tensor, theirs: Tensor) -> Tensor:
        # The target stays exact where the second model's pass is in 16 bits.
        with torch.no_grad(), torch.autocast(ours.device.type, enabled=False):
            target = first.logits(ours)
        return _ForwardKL.apply(second.logits(theirs), target, temperature)  # type: ignore[return-value]

    rows = chunk_rows(second.vocab_size)
    parts = []
    for part in zip(first_hidden.detach().split(rows), second_hidden.split(rows), strict=True):
        if torch.is_grad_enabled():
            parts.append(checkpoint(of_chunk, *part, use_reentrant=False))
        else:
            parts.append(of_chunk(*part))
    return torch.cat(parts)


@torch.no_grad()
def log_collision(lm: LanguageModel, hidden: Tensor, temperature: float) -> Tensor:
    """Return log Σ_v q(v)² of the next token, without gradient.

    It is the log-probability that two draws agree, which is what WPO divides a token's probability
    by (arXiv:2406.11827).

    Args:
        lm: q's model.
        hidden: [M, H] trunk outputs.
        temperature: divides the logits.

    Returns:
        [M] float32, at most 0.
    """

    def of_rows(logits: Tensor) -> Tensor:
        return (2.0 * (logits / temperature).log_softmax(dim=-1)).logsumexp(dim=-1)

    chunks = (lm.logits(rows) for rows in hidden.split(chunk_rows(lm.vocab_size)))
    return torch.cat([of_rows(few) for logits in chunks for few in logits.split(row_count(logits))])


class _ForwardKL(torch.autograd.Function):
    """KL(p || q) from logits, keeping nothing but them for the gradient."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, target: Tensor, temperature: float) -> Tensor:
        ctx.save_for_backward(logits, target)
        ctx.temperature = temperature
        few = row_count(logits)
        pairs = zip(target.split(few), logits.split(few), strict=True)
        return torch.cat([exact_kl(p / temperature, q / temperature) for p, q in pairs])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        logits, target = ctx.saved_tensors
        slopes, few = torch.empty_like(logits), row_count(logits)
        each = zip(*(t.split(few) for t in (slopes, logits, target, gradient)), strict=True)
        for slope, ours, theirs, scale in each:
            torch.softmax(ours / ctx.temperature, dim=-1, out=slope)
            slope -= (theirs / ctx.temperature).softmax(dim=-1)
            slope *= scale[:, None] / ctx.temperature
        return slopes, None, None
