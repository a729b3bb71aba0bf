"""The surrogate of whole episodes: weights, diagnostics, and padding that never matters."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from agents.algorithms.surrogate import DecisionBatch, surrogate_loss
from agents.math.aggregation import mean_over_decisions
from agents.settings.clip import Clip

CLIP = Clip(0.2, 0.2)
MASK = torch.tensor([[True, True, False, False], [True, True, True, True]])


def targets(advantages: Tensor, logprobs: Tensor, mask: Tensor = MASK) -> DecisionBatch:
    return DecisionBatch(
        advantages=advantages,
        logprobs=logprobs,
        ref_logprobs=logprobs,
        kl_coef=torch.zeros(len(mask)),
        mask=mask,
        weight=mean_over_decisions(mask),
        mean_weight=mean_over_decisions(mask),
    )


def test_the_mean_over_episodes_is_the_mean_over_decisions() -> None:
    """Trap E1: losses (1, 1) and (4 times 2) have mean 10 / 6 over decisions."""
    advantages = torch.tensor([[-1.0, -1.0, 0, 0], [-2.0, -2.0, -2.0, -2.0]])
    loss, _ = surrogate_loss(torch.zeros(2, 4), targets(advantages, torch.zeros(2, 4)), CLIP)
    assert loss.mean().item() == pytest.approx(10 / 6)


@pytest.mark.parametrize("padding", [1e6, math.nan])
def test_padding_changes_neither_loss_nor_gradient_nor_diagnostics(padding: float) -> None:
    """Traps B14 and E3."""
    found = []
    for pad in (0.0, padding):
        advantages = torch.tensor([[1.0, -1.0, pad, pad], [0.5, 2.0, -1.0, 1.0]])
        old = torch.tensor([[-1.0, -2.0, pad, pad], [-1.0, -1.0, -1.0, -1.0]])
        new = torch.tensor([[-1.1, -1.5, pad, pad], [-0.5, -1.0, -1.2, -1.0]], requires_grad=True)
        loss, metrics = surrogate_loss(new, targets(advantages, old), CLIP)
        loss.sum().backward()
        assert new.grad is not None
        found.append([loss.detach(), new.grad, *(value.detach() for value in metrics.values())])
    for clean, padded in zip(*found, strict=True):
        assert torch.equal(clean, padded)
    assert found[0][1][0, 2:].tolist() == [0.0, 0.0]


def test_movement_shows_where_the_mean_ratio_hides_it() -> None:
    """Trap E18: the ratios 1.2, 0.8, 1.2, 0.8 average to 1."""
    mask = torch.ones(1, 4, dtype=torch.bool)
    new = torch.tensor([[1.2, 0.8, 1.2, 0.8]], dtype=torch.float64).log()
    _, metrics = surrogate_loss(
        new, targets(torch.ones(1, 4), torch.zeros(1, 4), mask), Clip(0.1, 0.1)
    )
    assert metrics["approx_kl"].item() == pytest.approx(0.020758, abs=1e-6)
    assert metrics["ratio_max"].item() == pytest.approx(1.2)
    assert metrics["clip_fraction"].item() == pytest.approx(0.5)
