"""Responses of the reference, that is, of the untrained policy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from rlhf_env.mdp.dialogue import Dialogue
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
    talks = mdp.task.respond is not None
    generators = generator.spawn(len(prompts)) if talks else []
    responses: list[Tensor] = []
    for start in range(0, len(prompts), _ROWS):
        rows = slice(start, start + _ROWS)
        if talks:
            responses += _sample_dialogues(mdp, prompts[rows], draws[rows], generators[rows])
        else:
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


def _sample_dialogues(
    mdp: TokenMDP,
    prompts: Sequence[Tensor],
    uniforms: Tensor,
    generators: Sequence[np.random.Generator],
) -> list[Tensor]:
    """Return all that was said after each prompt, up to the last action."""
    texts = torch.full((len(prompts), mdp.max_tokens), mdp.task.pad_id, device=mdp.device)
    dialogue = Dialogue(mdp.task, mdp.max_new_tokens, texts)
    for row, (prompt, generator) in enumerate(zip(prompts, generators, strict=True)):
        texts[row, : len(prompt)] = prompt
        dialogue.start(row, len(prompt), generator)
    rows = torch.arange(len(texts), device=mdp.device)
    is_open = torch.ones(len(texts), dtype=torch.bool, device=mdp.device)
    while is_open.any():
        logits = mdp.reference.engine.logits_view(texts, dialogue.lengths).double()
        # A conversation that is over may have used up its numbers; what it draws is not used.
        step = dialogue.actions.clamp(max=mdp.max_new_tokens - 1)
        chosen = _drawn(logits / mdp.temperature, uniforms[rows, step])
        is_open &= ~dialogue.take(chosen, is_open)
    bounds = zip(dialogue.prompt_lengths.tolist(), dialogue.lengths.tolist(), strict=True)
    return [row[start:end].clone() for row, (start, end) in zip(texts, bounds, strict=True)]


def _drawn(logits: Tensor, uniforms: Tensor) -> Tensor:
    """Invert the cumulative distribution at one number in [0, 1) per row, [N] ids."""
    cumulative = logits.softmax(dim=-1).cumsum(dim=-1)
    total = cumulative[:, -1:]
    # Rounding leaves the last sum a little off 1; below it no impossible token can be chosen.
    wanted = torch.minimum(uniforms[:, None] * total, total.nextafter(total.new_zeros(())))
    return torch.searchsorted(cumulative, wanted, right=True).squeeze(1)
