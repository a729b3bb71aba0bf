"""Bradley-Terry: the loss on pairs, and a causal transformer that scores every prefix.

P(a preferred to b) = σ(score(a) − score(b))   (Bradley and Terry 1952; arXiv:1909.08593)

This module knows no data format and no training loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel

from rlhf_env.engine.packed_pass import hidden_at


def bradley_terry_loss(
    chosen: Tensor,
    rejected: Tensor,
    *,
    margin: Tensor | float = 0.0,
    centering_coef: float = 0.0,
) -> Tensor:
    """Return the mean negative log-likelihood of the stated preferences.

    mean{ −ln σ(c − r − margin) + centering_coef·(c + r)² }

    Args:
        chosen: [P] scores of the preferred responses.
        rejected: [P] scores of the others.
        margin: [P] or one number, by how much the preferred should win.
        centering_coef: weight of the pull of both scores towards zero (arXiv:2312.09244).

    Returns:
        A scalar; ln 2 for equal scores.
    """
    _check_pairs(chosen, rejected, dims=1)
    losses = -logsigmoid(chosen - rejected - margin) + centering_coef * (chosen + rejected) ** 2
    return losses.mean()


def prefix_bradley_terry_loss(chosen: Tensor, rejected: Tensor, is_compared: Tensor) -> Tensor:
    """Return the Bradley-Terry loss of equally long prefixes: mean over each pair, then over pairs.

    It makes the score of an unfinished response a forecast of which side will be preferred.

    Args:
        chosen: [P, L] scores of the prefixes of the preferred responses.
        rejected: [P, L] scores of the prefixes of the others.
        is_compared: [P, L] True where both responses have a prefix of that length.

    Returns:
        A scalar; a pair without compared prefixes counts as 0.
    """
    _check_pairs(chosen, rejected, dims=2)
    assert is_compared.shape == chosen.shape, "is_compared must be [P, L]"
    losses = -logsigmoid(chosen - rejected)
    sums = torch.where(is_compared, losses, 0.0).sum(dim=1)
    return (sums / is_compared.sum(dim=1).clamp(min=1)).mean()


class ScalarRewardModel(nn.Module):
    """A causal trunk with a linear head: the score of a text is read at its last token.

    It is a `Reward` and can score prefixes: since the trunk is causal, one pass scores them all.
    Rows are padded on the right and told apart by length, so scores depend neither on padding
    nor on the rest of the batch. ``mean`` and ``sd`` are saved with the weights; ``mean_remainder``
    is what rounding cut off the mean, which shows where scores differ little (0 in old files).
    """

    mean: Tensor
    mean_remainder: Tensor
    sd: Tensor

    def __init__(self, trunk: PreTrainedModel, *, batch_size: int = 256) -> None:
        """Put a head that answers 0 on ``trunk``, a decoder without language-model head.

        Args:
            trunk: gives ``last_hidden_state`` [B, L, H].
            batch_size: rows per pass when scoring; memory only.
        """
        super().__init__()
        self.trunk = trunk
        self.head = nn.Linear(trunk.config.hidden_size, 1, bias=False)
        nn.init.zeros_(self.head.weight)
        self.batch_size = batch_size
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("mean_remainder", torch.zeros(()))
        self.register_buffer("sd", torch.ones(()))

    def scores(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return the score read at every position, [B, L], with its gradient.

        Args:
            input_ids: [B, L] prompt and response, padded on the right.
            attention_mask: [B, L] 1 where there is a token.
        """
        output = self.trunk(input_ids=input_ids, attention_mask=attention_mask, use_cache=False)
        return self._scaled(self.head(output.last_hidden_state)[..., 0])

    def forward(self, prompts: list[Tensor], responses: list[Tensor]) -> Tensor:
        """Return the score of each response, [B]."""
        scored = self.prefix_scores(prompts, responses)
        return torch.stack([row[-1] for row in scored]) if scored else torch.zeros(0)

    @torch.no_grad()
    def prefix_scores(self, prompts: list[Tensor], responses: list[Tensor]) -> list[Tensor]:
        """Return the score after each response token, [len + 1]; index 0 is the bare prompt's.

        Raises:
            ValueError: if a prompt is empty, so that no token precedes the response.
        """
        scored: list[Tensor] = []
        for start in range(0, len(responses), self.batch_size):
            rows = slice(start, start + self.batch_size)
            scored += self._scored_rows(prompts[rows], responses[rows])
        return scored

    def normalize(self, prompts: list[Tensor], responses: list[Tensor]) -> None:
        """Shift and scale the scores to mean 0 and spread 1 on reference responses, in place."""
        scores = self(prompts, responses).double()
        mean = self.mean.double() + self.mean_remainder + scores.mean() * self.sd
        self.mean.copy_(mean)
        self.mean_remainder.copy_(mean - self.mean)
        self.sd.copy_(self.sd * scores.std(correction=0))

    def _scaled(self, raw: Tensor) -> Tensor:
        # In this order: near the mean the first difference is exact.
        return ((raw - self.mean) - self.mean_remainder) / self.sd

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        state_dict.setdefault(f"{prefix}mean_remainder", torch.zeros(()))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def _scored_rows(self, prompts: list[Tensor], responses: list[Tensor]) -> list[Tensor]:
        if any(len(prompt) == 0 for prompt in prompts):
            raise ValueError("every prompt must hold at least one token, got an empty one")
        device = self.head.weight.device
        texts = [torch.cat(pair).to(device) for pair in zip(prompts, responses, strict=True)]
        input_ids, mask = padded(texts)
        starts = torch.tensor([[len(prompt) - 1] for prompt in prompts], device=device)
        is_scored = mask.bool() & (torch.arange(input_ids.shape[1], device=device) >= starts)
        hidden = hidden_at(self.trunk, input_ids, is_scored)
        scores = self._scaled(self.head(hidden)[:, 0])
        return list(scores.split([len(response) + 1 for response in responses]))


def padded(texts: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return token ids [B, L] padded on the right and their attention mask [B, L]."""
    input_ids = pad_sequence(list(texts), batch_first=True, padding_value=0)
    lengths = torch.tensor([len(text) for text in texts], device=input_ids.device)
    positions = torch.arange(input_ids.shape[1], device=input_ids.device)
    return input_ids, (positions < lengths[:, None]).long()


def _check_pairs(chosen: Tensor, rejected: Tensor, *, dims: int) -> None:
    if chosen.shape != rejected.shape or chosen.dim() != dims or chosen.numel() == 0:
        raise ValueError(
            f"chosen and rejected must be {dims}-dimensional, of one shape and not empty, "
            f"got {list(chosen.shape)} and {list(rejected.shape)}"
        )
