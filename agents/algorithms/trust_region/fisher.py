"""The KL between a policy and itself moved: exact over the vocabulary, and its curvature.

Only a chunk of positions is projected onto the vocabulary at a time; the trunk sees whole
episodes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from rlhf_env.engine.divergence import next_token_kl
from rlhf_env.engine.language_model import LanguageModel, length_batches
from rlhf_env.rollout import Rollout

# Logits alive at once: 2^22 floats are 16 MiB, and a product holds several such arrays.
_CHUNK_ELEMENTS = 2**22


@torch.no_grad()
def summed_kl(
    old: LanguageModel, new: LanguageModel, rollout: Rollout, temperature: float
) -> Tensor:
    """Return KL(old || new) of the next token, summed over all actions of a rollout, in nats.

    The KL of a decision is the sum of its tokens' KLs, so this is the sum over decisions too.

    Args:
        old: the model that acted.
        new: the model after a step.
        rollout: B episodes; of none the sum is 0.
        temperature: divides the logits of both.
    """
    total = torch.zeros((), device=rollout.tokens.device)
    for rows, width in length_batches(rollout.is_action):
        was, now = (_before_actions(lm, rollout, rows, width) for lm in (old, new))
        total = total + next_token_kl(old, new, was, now, temperature).sum()
    return total


def summed_fisher_product(
    lm: LanguageModel,
    parameters: Sequence[Tensor],
    vectors: Sequence[Tensor],
    rollout: Rollout,
    temperature: float,
) -> list[Tensor]:
    """Return F v, where F is the Hessian of `summed_kl` at the policy itself.

    F = Σ Jᵀ (diag p − p pᵀ) J / temperature² over actions, with J the Jacobian of the logits. The
    second derivatives of the network do not enter: the KL's gradient is zero where both agree.

    Args:
        lm: the policy's model.
        parameters: its trained weights.
        vectors: v, of the same shapes.
        rollout: B episodes.
        temperature: divides the logits.

    Returns:
        F v, of the same shapes.
    """
    totals = [torch.zeros_like(p) for p in parameters]
    for rows, width in length_batches(rollout.is_action):
        # Fused attention has no second derivative.
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
            hidden = _before_actions(lm, rollout, rows, width)
            moved = jacobian_product(hidden, parameters, vectors)
        pulled = torch.zeros_like(moved)
        for part in torch.arange(len(hidden), device=hidden.device).split(_chunk(lm)):
            leaf, from_chunk = hidden.detach()[part].requires_grad_(), torch.zeros_like(moved[part])
            with torch.enable_grad():
                logits = lm.logits(leaf) / temperature
                shift = jacobian_product(logits, [leaf, *parameters], [moved[part], *vectors])
            curved = _multinomial_product(logits.detach(), shift)
            _add_pulled([from_chunk, *totals], logits, [leaf, *parameters], curved)
            pulled[part] = from_chunk
        if hidden.requires_grad:
            _add_pulled(totals, hidden, parameters, pulled)
    return totals


def jacobian_product(
    outputs: Tensor, inputs: Sequence[Tensor], vectors: Sequence[Tensor]
) -> Tensor:
    """Return J v, the change of the outputs when the inputs move along v.

    Args:
        outputs: computed from the inputs, with gradient.
        inputs: what is moved; some may not matter.
        vectors: v, of the inputs' shapes.
    """
    if not outputs.requires_grad:
        return torch.zeros_like(outputs)
    # Pulling back is linear in what is pulled: its derivative is the pull's transpose.
    probe = torch.zeros_like(outputs, requires_grad=True)
    pulled = torch.autograd.grad(outputs, inputs, probe, create_graph=True, allow_unused=True)
    used = [(g * v).sum() for g, v in zip(pulled, vectors, strict=True) if g is not None]
    (moved,) = torch.autograd.grad(torch.stack(used).sum(), probe, retain_graph=True)
    return moved


def _multinomial_product(logits: Tensor, vectors: Tensor) -> Tensor:
    """Return (diag p − p pᵀ) v of each row, [M, V]."""
    probabilities = logits.softmax(dim=-1)
    mean = (probabilities * vectors).sum(dim=-1, keepdim=True)
    return probabilities * (vectors - mean)


def _add_pulled(
    totals: Sequence[Tensor], outputs: Tensor, inputs: Sequence[Tensor], vectors: Tensor
) -> None:
    """Add Jᵀ v of each input to its total."""
    pulled = torch.autograd.grad(outputs, inputs, vectors, allow_unused=True)
    for total, part in zip(totals, pulled, strict=True):
        if part is not None:
            total += part


def _before_actions(lm: LanguageModel, rollout: Rollout, rows: Tensor, width: int) -> Tensor:
    """Return the trunk's output [M, H] where each action of some rows is chosen."""
    hidden = lm.hidden(rollout.tokens[rows, : width - 1])
    return hidden[rollout.is_action[rows, 1:width]]


def _chunk(lm: LanguageModel) -> int:
    return max(1, _CHUNK_ELEMENTS // lm.vocab_size)
