"""Responses of the reference, that is, of the untrained policy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from rlhf_env.mdp.mdp import TokenMDP

# Rows decoded side by side; memory only, the responses do not depend on it.
_ROWS = 64


@torch.no_grad()
def sample_reference(
    mdp: TokenMDP, prompts: Sequence[Tensor], generator: np.random.Generator
) -> list[Tensor]:
    """Draw one response of the reference to each prompt.

    Args:
        mdp: whose reference, temperature and horizon are meant; its rows are not touched.
        prompts: token ids, of at most ``max_prompt_tokens`` each.
        generator: the only randomness there is.

    Returns:
        The ids of each response, EOS included where there is one, on the MDP's device.
    """
    uniforms = generator.random((len(prompts), mdp.max_new_tokens))
    draws = torch.from_numpy(uniforms).to(mdp.device)
    responses: list[Tensor] = []
    for start in range(0, len(prompts), _ROWS):
        rows = slice(start, start + _ROWS)
        responses += _sample_rows(mdp, prompts[rows], draws[rows])
    mdp.reference.engine.reset_cache()
    return responses


def _sample_rows(mdp: TokenMDP, prompts: Sequence[Tensor], uniforms: Tensor) -> list[Tensor]:
    count = len(prompts)
    tokens = torch.full((count, mdp.max_tokens), mdp.task.pad_id, device=mdp.device)
    for row, prompt in zip(tokens, prompts, strict=True):
        row[: len(prompt)] = prompt
    starts = torch.tensor([len(prompt) for prompt in prompts], device=mdp.device)
    lengths, is_open = starts.clone(), torch.ones_like(starts, dtype=torch.bool)
    for step in range(mdp.max_new_tokens):
        logits = mdp.reference.engine.logits_view(tokens, lengths).double() / mdp.temperature
        chosen = _drawn(logits, uniforms[:, step])
        tokens[is_open, lengths[is_open]] = chosen[is_open]
        lengths += is_open
        is_open &= chosen != mdp.task.eos_id
        if not is_open.any():
            break
    bounds = zip(starts.tolist(), lengths.tolist(), strict=True)
    return [row[start:end].clone() for row, (start, end) in zip(tokens, bounds, strict=True)]


def _drawn(logits: Tensor, uniforms: Tensor) -> Tensor:
    """Invert the cumulative distribution at one number in [0, 1) per row, [N] ids."""
    cumulative = logits.softmax(dim=-1).cumsum(dim=-1)
    total = cumulative[:, -1:]
    # Rounding leaves the last sum a little off 1; below it no impossible token can be chosen.
    wanted = torch.minimum(uniforms[:, None] * total, total.nextafter(total.new_zeros(())))
    return torch.searchsorted(cumulative, wanted, right=True).squeeze(1)
