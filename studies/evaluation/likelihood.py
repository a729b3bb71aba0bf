"""What a language model says of texts that it did not write: likelihood and confidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from rlhf_env.engine.language_model import LanguageModel
from rlhf_env.statistics import Floats

_BATCH = 16


@dataclass(frozen=True, kw_only=True)
class Likelihood:
    """Of N texts."""

    logprobs: Floats
    """[N] log-probability of each text's counted tokens, nats."""
    counts: Floats
    """[N] how many tokens were counted."""
    confidence: Floats
    """[K] of all counted tokens: the probability of the most likely one in its place."""
    is_right: Floats
    """[K] whether that was the one."""


@torch.no_grad()
def likelihood(
    model: LanguageModel, texts: Sequence[Tensor], starts: Sequence[int], temperature: float = 1.0
) -> Likelihood:
    """Run a language model over texts.

    Args:
        model: it reads a text from its first token on.
        texts: N vectors of token ids.
        starts: the first token of each that counts, at least 1: what is before it is given.
        temperature: divides the logits.
    """
    sums, counts, confidence, is_right = [], [], [], []
    for begin in range(0, len(texts), _BATCH):
        part = [ids.to(model.device) for ids in texts[begin : begin + _BATCH]]
        tokens = pad_sequence(part, batch_first=True)
        place = torch.arange(tokens.shape[1], device=tokens.device)
        lengths = torch.tensor([len(ids) for ids in part], device=tokens.device)
        first = torch.tensor(starts[begin : begin + _BATCH], device=tokens.device)
        counted = ((place >= first[:, None]) & (place < lengths[:, None]))[:, 1:]
        hidden = model.hidden(tokens[:, :-1])[counted]
        logprobs = (model.logits(hidden).double() / temperature).log_softmax(dim=-1)
        following = tokens[:, 1:][counted]
        own = logprobs.gather(1, following[:, None]).squeeze(1)
        best, guess = logprobs.max(dim=1)
        filled = torch.zeros(counted.shape, dtype=own.dtype, device=own.device)
        sums.append(filled.masked_scatter(counted, own).sum(dim=1))
        counts.append(counted.sum(dim=1))
        confidence.append(best.exp())
        is_right.append(guess == following)

    def joined(parts: list[Tensor]) -> Floats:
        return torch.cat(parts).double().cpu().numpy()

    return Likelihood(
        logprobs=joined(sums),
        counts=joined(counts),
        confidence=joined(confidence),
        is_right=joined(is_right),
    )


def perplexity(found: Likelihood, rows: np.ndarray | None = None) -> float:
    """Return exp(−mean log-probability of a token), of all texts or of some rows."""
    chosen = slice(None) if rows is None else rows
    return float(np.exp(-found.logprobs[chosen].sum() / found.counts[chosen].sum()))
