"""What a model says of finished episodes, without gradient: log-probabilities, normalizers."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from rlhf_env.engine.language_model import LanguageModel, length_batches


def score_rollout(
    model: LanguageModel, tokens: Tensor, is_action: Tensor, temperature: float = 1.0
) -> Tensor:
    """Return the log-probability of every action of finished episodes, without gradient.

    Args:
        model: the one that scores.
        tokens: [B, L] int64, padded on the right.
        is_action: [B, L] bool, the positions to score.
        temperature: divides the logits.

    Returns:
        [B, L] float32 log p(tokens[:, i] | tokens[:, :i]); 0 where ``is_action`` is False.
    """

    def logprobs(hidden: Tensor, chosen: Tensor) -> Tensor:
        return model.logprobs(hidden, chosen, temperature)

    return _of_states(model, tokens, is_action, logprobs)


def rollout_log_normalizers(
    model: LanguageModel, tokens: Tensor, is_action: Tensor, temperature: float = 1.0
) -> Tensor:
    """Return log Σ_v exp(logits_v / temperature) of every action's state, without gradient.

    Args:
        model: whose logits they are.
        tokens: [B, L] int64, padded on the right.
        is_action: [B, L] bool, the actions whose states are meant, at least one in every row.
        temperature: divides the logits.

    Returns:
        [B, L] float32 at the positions of the actions; 0 where ``is_action`` is False.
    """

    def normalizers(hidden: Tensor, chosen: Tensor) -> Tensor:
        return model.log_normalizers(hidden, temperature)

    return _of_states(model, tokens, is_action, normalizers)


def _of_states(
    model: LanguageModel,
    tokens: Tensor,
    is_action: Tensor,
    measure: Callable[[Tensor, Tensor], Tensor],
) -> Tensor:
    """Return a measure of the states in which actions were chosen, [B, L], without gradient.

    Args:
        model: whose trunk runs over the texts up to the last action of each.
        tokens: [B, L] int64.
        is_action: [B, L] bool.
        measure: ``f(hidden [M, H], actions [M]) -> [M]``.
    """
    whole = torch.zeros(tokens.shape, dtype=torch.float32, device=tokens.device)
    with torch.no_grad():
        for rows, width in length_batches(is_action):
            asked = is_action[rows, 1:width]
            hidden = model.packed_hidden(tokens[rows, : width - 1], asked)
            found = measure(hidden, tokens[rows, 1:width][asked])
            part = torch.zeros(asked.shape, device=tokens.device).masked_scatter(asked, found)
            whole[rows, 1:width] = part
    return whole
