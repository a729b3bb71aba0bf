"""The batches on which policy losses are checked, and their gradients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rlhf_env.testing.losses.subject import TrainerLoss


@dataclass(frozen=True)
class PolicyBatch:
    """Ragged responses, padded on the right."""

    logprobs: Tensor
    """[B, T]."""
    old_logprobs: Tensor
    """[B, T]."""
    advantages: Tensor
    """[B, T]."""
    mask: Tensor
    """[B, T] bool, True at response tokens."""

    def rows(self, rows: Sequence[int]) -> PolicyBatch:
        """Return some of the rows."""
        index = torch.tensor(rows)
        return PolicyBatch(*(part[index] for part in self.parts))

    @property
    def parts(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The four tensors."""
        return self.logprobs, self.old_logprobs, self.advantages, self.mask

    def behind(self, value: float) -> PolicyBatch:
        """Return the batch with other numbers where there is no token."""

        def filled(part: Tensor, by: float) -> Tensor:
            return torch.where(self.mask, part, by)

        return replace(
            self,
            logprobs=filled(self.logprobs, -value),
            old_logprobs=filled(self.old_logprobs, -0.5 * value),
            advantages=filled(self.advantages, 3.0 * value),
        )


def ragged(log_ratio: float = 0.1) -> PolicyBatch:
    """Return four responses of 5, 1, 3 and 4 tokens; each keeps one advantage for all tokens.

    Args:
        log_ratio: largest |log pi/pi_old|; 0.1 lies inside the usual clip of 0.2.
    """
    generator = torch.Generator().manual_seed(0)
    lengths = torch.tensor([5, 1, 3, 4])
    mask = torch.arange(6) < lengths[:, None]
    logprobs = -0.2 - 3 * torch.rand(4, 6, generator=generator, dtype=torch.float64)
    moved = log_ratio * (2 * torch.rand(4, 6, generator=generator, dtype=torch.float64) - 1)
    advantages = torch.tensor([1.0, -0.5, 2.0, -1.5], dtype=torch.float64)[:, None].expand(4, 6)
    batch = PolicyBatch(logprobs, logprobs - moved, advantages.clone(), mask)
    return batch.behind(0.25)


def one_token(
    log_ratio: float, advantage: float, dtype: torch.dtype = torch.float64
) -> PolicyBatch:
    """Return one response of one token."""
    old = torch.full((1, 1), -1.0, dtype=dtype)
    return PolicyBatch(
        old + log_ratio, old, torch.full_like(old, advantage), torch.ones(1, 1, dtype=torch.bool)
    )


def loss_and_slope(
    loss: TrainerLoss, batch: PolicyBatch, whole: PolicyBatch | None = None
) -> tuple[Tensor, Tensor]:
    """Return a loss and its slope in the log-probabilities, [B, T].

    Args:
        loss: the function.
        batch: what it sees.
        whole: the batch that this is a part of; itself by default.
    """
    logprobs = batch.logprobs.clone().requires_grad_(True)
    totals = {}
    if loss.totals:
        mask = (whole or batch).mask
        totals = {"total_tokens": mask.sum(), "total_rows": len(mask)}
    value = loss(
        logprobs=logprobs,
        old_logprobs=batch.old_logprobs.clone(),
        advantages=batch.advantages.clone(),
        mask=batch.mask.clone(),
        **totals,
    ).sum()
    if not value.requires_grad:
        return value.detach(), torch.zeros_like(logprobs)
    (slope,) = torch.autograd.grad(value, logprobs, allow_unused=True)
    return value.detach(), torch.zeros_like(logprobs) if slope is None else slope
