"""The training loop: AdamW, batches of similar length, and the weights of the best evaluation.

It knows scores and objectives only; models and data are made in `rlhf_env.rewards.training.train`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from tqdm import tqdm

from rlhf_env.rewards.training.elements import Element, collate
from rlhf_env.rewards.training.objective import Agreement, Objective
from rlhf_env.rewards.training.settings import RewardSettings


class TokenScorer(Protocol):
    """A module that scores every prefix of a text."""

    def scores(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return the score read at every position, [B, L], with its gradient."""
        ...


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The loss and accuracy at one step, on data not fitted to."""

    step: int
    """Optimizer steps taken."""
    loss: float
    """Mean over the elements."""
    agreement: Agreement
    """How many of the judgments the scores agree with."""

    @property
    def accuracy(self) -> float | None:
        """Share of the judgments that the scores agree with; None where none takes a side."""
        return self.agreement.share


@dataclass(frozen=True, kw_only=True)
class History:
    """How a fit went."""

    train_losses: tuple[float, ...]
    """Mean loss of each step's batch."""
    evaluations: tuple[Evaluation, ...]
    """The held-out evaluations in order."""

    @property
    def best(self) -> Evaluation:
        """The evaluation of least loss, whose weights were kept; the first of equal ones."""
        return min(self.evaluations, key=lambda evaluation: evaluation.loss)


def fit(
    model: nn.Module,
    objective: Objective,
    train: Sequence[Element[Any]],
    held_out: Sequence[Element[Any]],
    settings: RewardSettings,
    generator: torch.Generator,
) -> History:
    """Fit a model that has `TokenScorer.scores`, in place, and leave it with its best weights.

    Dropout stays off: what is scored later is what was fitted, and a seed decides everything.

    Args:
        model: what is fitted.
        objective: what the scores are to explain.
        train: what is fitted to.
        held_out: decides when to stop and which weights are kept.
        settings: steps and rates.
        generator: draws the order.

    Raises:
        ValueError: if the loss stops being finite.
    """
    model.eval()
    steps_per_epoch = math.ceil(len(train) / settings.batch_size)
    steps = steps_per_epoch * settings.epochs
    every = max(1, steps_per_epoch // settings.evaluations_per_epoch)
    take_step = _Steps(model, settings, steps)
    train_losses: list[float] = []
    evaluations: list[Evaluation] = []
    best: dict[str, Tensor] = {}
    progress = tqdm(_order(train, settings, generator), desc="reward", total=steps, disable=None)
    for step, rows in enumerate(progress, start=1):
        loss = _losses(model, objective, rows).mean()
        if not loss.isfinite():
            raise ValueError(
                f"learning_rate must keep the loss finite, got {loss.item()} at step {step} of "
                f"{steps} with {settings.learning_rate:g}; lower it"
            )
        take_step(loss)
        train_losses.append(loss.item())
        if step % every and step < steps:
            continue
        evaluations.append(evaluate(model, objective, held_out, settings.batch_size, step=step))
        history = History(train_losses=tuple(train_losses), evaluations=tuple(evaluations))
        if history.best is evaluations[-1]:
            best = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        elif len(evaluations) - evaluations.index(history.best) > settings.patience:
            break
        progress.set_postfix(held_out_loss=f"{evaluations[-1].loss:.4f}")
    progress.close()
    model.load_state_dict(best)
    return History(train_losses=tuple(train_losses), evaluations=tuple(evaluations))


@torch.no_grad()
def evaluate(
    model: nn.Module,
    objective: Objective,
    elements: Sequence[Element[Any]],
    batch_size: int,
    *,
    step: int = 0,
) -> Evaluation:
    """Return loss and accuracy of a model on elements, longest first."""
    total, agreement = 0.0, Agreement(agreeing=0.0, total=0.0)
    ordered = sorted(elements, key=lambda element: element.longest, reverse=True)
    for start in range(0, len(ordered), batch_size):
        rows = ordered[start : start + batch_size]
        batch, scores = _scored(model, rows)
        total += float(objective.losses(scores, batch, rows).double().sum())
        agreement += objective.agreement(scores, batch, rows)
    return Evaluation(step=step, loss=total / len(elements), agreement=agreement)


class _Steps:
    """AdamW with a linear warm-up and decay, and gradients cut at a length."""

    def __init__(self, model: nn.Module, settings: RewardSettings, steps: int) -> None:
        self._model = model
        self._max_norm = settings.max_grad_norm
        self._optimizer = torch.optim.AdamW(
            model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        warmup = round(steps * settings.warmup_share)

        def share(step: int) -> float:
            rising, falling = (step + 1) / max(1, warmup), (steps - step) / (steps - warmup + 1)
            return min(1.0, rising) if step < warmup else min(1.0, falling)

        self._schedule = torch.optim.lr_scheduler.LambdaLR(self._optimizer, share)

    def __call__(self, loss: Tensor) -> None:
        self._optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self._model.parameters(), self._max_norm)
        self._optimizer.step()
        self._schedule.step()


def _order(
    elements: Sequence[Element[Any]], settings: RewardSettings, generator: torch.Generator
) -> Iterator[list[Element[Any]]]:
    """Yield the batches of all epochs: texts of similar length together, in random order."""
    lengths = [element.longest for element in elements]
    size = settings.batch_size
    for _ in range(settings.epochs):
        rows = _grouped_by_length(lengths, size, generator)
        starts = range(0, len(rows), size)
        for place in torch.randperm(len(starts), generator=generator).tolist():
            start = starts[place]
            yield [elements[row] for row in rows[start : start + size]]


def _grouped_by_length(lengths: list[int], size: int, generator: torch.Generator) -> list[int]:
    """Return all rows so that those of a batch are of similar length, the longest of all first.

    Rows are permuted, then sorted within blocks of up to 50 batches; that a batch of the longest
    comes first shows at once whether memory suffices.
    """
    block = size * max(1, min(len(lengths) // (4 * size), 50))
    permuted = torch.randperm(len(lengths), generator=generator).tolist()
    blocks = [
        sorted(permuted[start : start + block], key=lengths.__getitem__, reverse=True)
        for start in range(0, len(permuted), block)
    ]
    longest = max(blocks, key=lambda rows: lengths[rows[0]])
    blocks[0][0], longest[0] = longest[0], blocks[0][0]
    return [row for rows in blocks for row in rows]


def _losses(model: nn.Module, objective: Objective, rows: Sequence[Element[Any]]) -> Tensor:
    batch, scores = _scored(model, rows)
    return objective.losses(scores, batch, rows)


def _scored(model: Any, rows: Sequence[Element[Any]]) -> tuple[Any, Tensor]:
    batch = collate(rows, next(model.parameters()).device)
    return batch, model.scores(batch.input_ids, batch.attention_mask).float()
