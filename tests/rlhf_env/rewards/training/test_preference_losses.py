"""Losses against numbers worked out by hand or given in the literature (traps F10 to F12)."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlhf_env.rewards import (
    davidson_losses,
    kwise_loss,
    ordinal_losses,
    plackett_luce_loss,
    rating_losses,
    thumb_losses,
    token_losses,
    vote_losses,
)

RANKS = torch.tensor([1.0, 2.0, 3.0, 4.0])
SCORES = torch.tensor([2.0, 1.0, 0.0, -1.0])


@pytest.mark.parametrize(
    ("votes", "margin", "expected"),
    [
        ((1, 0, 0), 0.0, 0.371101),
        ((7, 0, 0), 0.0, 0.371101),
        ((0, 0, 1), 0.0, 1.171101),
        ((0, 1, 0), 0.0, 0.771101),
        ((2, 0, 1), 0.0, 0.637767),
        ((1, 0, 0), 0.5, 0.554355),
        ((0, 1, 0), 0.5, 0.771101),
    ],
)
def test_votes(votes: tuple[int, int, int], margin: float, expected: float) -> None:
    losses = vote_losses(
        torch.tensor([1.0]), torch.tensor([0.2]), torch.tensor([votes]).float(), margin
    )
    assert losses.tolist() == pytest.approx([expected], abs=1e-6)


@given(st.tuples(*[st.floats(0.0, 9.0)] * 3).filter(lambda votes: sum(votes) > 0.1))
def test_equal_scores_cost_ln_2_whatever_the_votes(votes: tuple[float, float, float]) -> None:
    loss = vote_losses(torch.tensor([3.0]), torch.tensor([3.0]), torch.tensor([votes]))
    assert loss.item() == pytest.approx(0.693147, abs=1e-5)


@pytest.mark.parametrize(
    ("votes", "expected"),
    # The odds are 2 : 1 : 1/2.
    [((1, 0, 0), 0.559616), ((0, 1, 0), 1.252763), ((0, 0, 1), 1.945910)],
)
def test_ties_as_an_outcome(votes: tuple[int, int, int], expected: float) -> None:
    difference = torch.tensor([1.3862944])
    losses = davidson_losses(difference, torch.zeros(1), torch.tensor([votes]).float(), 1.0)
    assert losses.item() == pytest.approx(expected, abs=1e-6)


def test_without_ties_the_outcome_vanishes() -> None:
    votes = torch.tensor([[1.0, 0.0, 0.0]])
    loss = davidson_losses(torch.tensor([1.0]), torch.tensor([0.2]), votes, 1e-9)
    assert loss.item() == pytest.approx(0.371101, abs=1e-6)


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [2, 0, 3, 1], [3, 2, 1, 0]])
def test_rankings_of_four(order: list[int]) -> None:
    scores, ranks = SCORES[order], RANKS[order]
    assert plackett_luce_loss(scores, ranks).item() == pytest.approx(1.161057, abs=1e-6)
    assert kwise_loss(scores, ranks).item() == pytest.approx(0.207038, abs=1e-6)


def test_rankings_of_two_are_pairs() -> None:
    scores, ranks = torch.tensor([0.3, -0.2]), torch.tensor([1.0, 2.0])
    assert plackett_luce_loss(scores, ranks).item() == pytest.approx(0.474077, abs=1e-6)
    assert kwise_loss(scores, ranks).item() == pytest.approx(0.474077, abs=1e-6)


def test_equal_ranks_pull_together() -> None:
    scores = torch.tensor([1.0, 0.0], requires_grad=True)
    for loss in (plackett_luce_loss, kwise_loss):
        (gradient,) = torch.autograd.grad(loss(scores, torch.ones(2)), scores)
        assert gradient[0] > 0 > gradient[1]
    assert plackett_luce_loss(torch.zeros(2), torch.ones(2)).item() == pytest.approx(1.386294)


def test_thumbs() -> None:
    losses = thumb_losses(torch.tensor([0.8, 0.8]), torch.tensor([True, False]))
    assert losses.tolist() == pytest.approx([0.371101, 1.171101], abs=1e-6)


def test_ratings_in_units_of_their_spread() -> None:
    losses = rating_losses(torch.tensor([1.0, 3.0]), torch.tensor([3.0, 2.0]), 2.0)
    assert losses.tolist() == [1.0, 0.25]


def test_ordinal_levels() -> None:
    thresholds = torch.tensor([-1.0, 0.5])
    losses = ordinal_losses(torch.full((3,), 0.3), torch.arange(3), thresholds)
    assert losses.tolist() == pytest.approx([1.541008, 1.091630, 0.798139], abs=1e-5)
    assert (-losses).exp().sum().item() == pytest.approx(1.0, abs=1e-6)


def test_ordinal_levels_far_away_keep_a_gradient() -> None:
    scores = torch.tensor([60.0, -60.0, 60.0], requires_grad=True)
    losses = ordinal_losses(scores, torch.tensor([0, 2, 1]), torch.tensor([-1.0, 0.5]))
    (gradient,) = torch.autograd.grad(losses.sum(), scores)
    assert losses.isfinite().all()
    assert gradient.tolist() == pytest.approx([1.0, -1.0, 1.0])


def test_tokens_count_where_they_are_judged() -> None:
    scores = torch.tensor([[0.8, -0.8, 9.0], [-9.0, -0.8, 0.0]], requires_grad=True)
    is_marked = torch.tensor([[False, True, True], [False, False, False]])
    is_judged = torch.tensor([[True, True, False], [False, True, False]])
    losses = token_losses(scores, is_marked, is_judged)
    assert losses.tolist() == pytest.approx([0.371101, 1.171101], abs=1e-6)
    (gradient,) = torch.autograd.grad(losses.sum(), scores)
    assert (gradient[~is_judged] == 0).all()
