"""Every formula of `agents.math` on numbers worked out elsewhere."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from agents.math import (
    adaptive_kl_coef,
    center,
    clipped_surrogate,
    clipped_value_loss,
    discount_weights,
    discounted_returns,
    explained_variance,
    gae,
    group_centered,
    group_deviation,
    group_relative,
    is_clipped,
    leave_one_out,
    masked_mean,
    scale_to_unit_variance,
    squared_value_loss,
    whiten,
)

REWARDS = torch.tensor([[-0.1, -0.2, 0.9]], dtype=torch.float64)
VALUES = torch.tensor([[0.5, 0.6, 0.7]], dtype=torch.float64)
ALL = torch.ones(1, 3, dtype=torch.bool)
RAGGED = torch.tensor([[True, True, True, False], [True, True, False, False]])


def double(*numbers: float) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


@pytest.mark.parametrize(
    ("gamma", "gae_lambda", "bootstrap", "expected"),
    [
        (1.0, 0.95, 0.0, [0.0855, 0.0900, 0.2000]),
        (1.0, 0.95, 0.8, [0.8075, 0.8500, 1.0000]),
        (1.0, 1.0, 0.0, [0.1, 0.1, 0.2]),
        (1.0, 1.0, 0.8, [0.9, 0.9, 1.0]),
        (1.0, 0.0, 0.0, [0.0, -0.1, 0.2]),
        (0.9, 0.95, 0.0, [-0.059145, 0.001, 0.2]),
    ],
)
def test_gae(gamma: float, gae_lambda: float, bootstrap: float, expected: list[float]) -> None:
    """Trap C1."""
    found = gae(REWARDS, VALUES, ALL, double(bootstrap), gamma, gae_lambda)
    assert found[0].tolist() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("padding", [0.3, 1e6, math.nan, math.inf])
def test_gae_ignores_padding(padding: float) -> None:
    """Traps C4 and C5: what stands behind the last action is nobody's value and nobody's reward."""
    mask = torch.tensor([[True, True, True, False, False]])
    pads = torch.full((1, 2), padding, dtype=torch.float64)
    rewards, values = torch.cat([REWARDS, pads], 1), torch.cat([VALUES, pads], 1)
    found = gae(rewards, values, mask, double(0.0), 1.0, 0.95)
    assert found[0].tolist() == pytest.approx([0.0855, 0.09, 0.2, 0.0, 0.0], abs=1e-9)


def test_rows_of_different_length_do_not_touch_each_other() -> None:
    """Trap C6."""
    rewards = double(-0.1, -0.2, 0.9, 7.0, 0.5, 1.0, 7.0, 7.0).reshape(2, 4)
    values = double(0.5, 0.6, 0.7, 9.0, 0.2, 0.4, 9.0, 9.0).reshape(2, 4)
    found = gae(rewards, values, RAGGED, double(0.8, 0.0), 1.0, 1.0)
    assert found.flatten().tolist() == pytest.approx([0.9, 0.9, 1.0, 0, 1.3, 0.6, 0, 0], abs=1e-9)


numbers = st.floats(-10, 10, width=32)
columns = st.integers(1, 6).flatmap(
    lambda width: st.tuples(*[st.lists(numbers, min_size=width, max_size=width)] * 2)
)


@given(columns, st.integers(1, 6), st.floats(0, 1, width=32))
@settings(max_examples=50, deadline=None)
def test_gae_with_lambda_one_is_returns_less_values(
    drawn: tuple[list[float], list[float]], length: int, gamma: float
) -> None:
    """Trap C14: then no critic, however wrong, biases the advantage plus its own value."""
    rewards, values = (torch.tensor([row], dtype=torch.float64) for row in drawn)
    mask = torch.arange(rewards.shape[1])[None] < length
    advantages = gae(rewards, values, mask, double(0.0), gamma, 1.0)
    expected = (discounted_returns(rewards, mask, gamma) - values).masked_fill(~mask, 0.0)
    assert torch.allclose(advantages, expected, atol=1e-9)


def test_discount_weights() -> None:
    found = discount_weights(RAGGED, 0.5)
    assert found.flatten().tolist() == [1.0, 0.5, 0.25, 0.0, 1.0, 0.5, 0.0, 0.0]
    assert discount_weights(RAGGED, 0.0).flatten().tolist() == [1, 0, 0, 0, 1, 0, 0, 0]


def test_group_deviation() -> None:
    """Groups (1, 3) and (2, 2): sample standard deviations √2 and 0."""
    found = group_deviation(double(1, 2, 3, 2), torch.tensor([0, 1, 0, 1]), epsilon=0.5)
    assert found.tolist() == pytest.approx([1.914214, 0.5, 1.914214, 0.5], abs=1e-6)


def test_discounted_returns() -> None:
    """Trap C9: a point after ten tokens is worth 0.95^9 at the first."""
    rewards = torch.zeros(1, 10, dtype=torch.float64)
    rewards[0, 9] = 1.0
    mask = torch.ones(1, 10, dtype=torch.bool)
    assert discounted_returns(rewards, mask, 0.95)[0, 0].item() == pytest.approx(0.630249, abs=1e-6)
    assert discounted_returns(rewards, mask, 1.0)[0].tolist() == [1.0] * 10
    assert discounted_returns(rewards, mask, 0.0)[0].tolist() == [0.0] * 9 + [1.0]


@pytest.mark.parametrize("padding", [1e6, math.nan])
def test_discounted_returns_ignore_padding(padding: float) -> None:
    rewards = double(1.0, 2.0, 4.0, padding, 1.0, 2.0, padding, padding).reshape(2, 4)
    found = discounted_returns(rewards, RAGGED, 0.5)
    assert found.flatten().tolist() == [3.0, 4.0, 4.0, 0.0, 2.0, 2.0, 0.0, 0.0]


@pytest.mark.parametrize("padding", [0.0, 1e6, math.nan])
def test_whitening_ignores_padding(padding: float) -> None:
    """Trap E4."""
    values = double(1, 2, 3, padding, 4, 6, padding, padding).reshape(2, 4)
    assert masked_mean(values, RAGGED).item() == pytest.approx(3.2)
    assert center(values, RAGGED).flatten().tolist() == pytest.approx(
        [-2.2, -1.2, -0.2, 0, 0.8, 2.8, 0, 0]
    )
    expected = [-1.278724, -0.697486, -0.116248, 0, 0.464991, 1.627467, 0, 0]
    assert whiten(values, RAGGED).flatten().tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("padding", [9.0, math.nan])
def test_scaling_to_unit_variance_keeps_the_mean(padding: float) -> None:
    """Trap E4: the whitened values and their mean of 3.2."""
    values = double(1, 2, 3, padding, 4, 6, padding, padding).reshape(2, 4)
    expected = [1.921276, 2.502514, 3.083752, 0, 3.664991, 4.827467, 0, 0]
    found = scale_to_unit_variance(values, RAGGED)
    assert found.flatten().tolist() == pytest.approx(expected, abs=1e-6)
    same = torch.full((2, 4), 2.5)
    assert scale_to_unit_variance(same, RAGGED)[RAGGED].tolist() == [2.5] * 5


@pytest.mark.parametrize("value", [0.0, 3.3, 1e6, -0.1])
@pytest.mark.parametrize("count", [1, 3, 7])
def test_whitening_equal_values_gives_zeros(value: float, count: int) -> None:
    """Trap E5: rounding must not be blown up to one standard deviation."""
    values = torch.full((2, count), value)
    mask = torch.ones(2, count, dtype=torch.bool)
    assert whiten(values, mask).tolist() == [[0.0] * count] * 2
    mask[:] = False
    mask[0, 0] = True
    assert whiten(values, mask).abs().sum().item() == 0.0


def test_nothing_has_mean_zero() -> None:
    assert masked_mean(double(1.0, math.nan), torch.tensor([False, False])).item() == 0.0


def test_group_statistics_stay_within_the_group() -> None:
    """Trap E8: prompts (0, 1) and (10, 11), in any order of rows."""
    returns, group = double(0, 10, 1, 11), torch.tensor([4, 9, 4, 9])
    assert group_centered(returns, group).tolist() == [-0.5, -0.5, 0.5, 0.5]
    assert group_relative(returns, group).sign().tolist() == [-1, -1, 1, 1]
    assert leave_one_out(returns, group).tolist() == [-1.0, -1.0, 1.0, 1.0]


def test_group_baselines() -> None:
    """Traps E9 and E10: sample standard deviation, and a baseline without the row itself."""
    returns, group = double(1, 2, 3, 6), torch.zeros(4, dtype=torch.int64)
    assert group_centered(returns, group).tolist() == [-2.0, -1.0, 0.0, 3.0]
    assert leave_one_out(returns, group).tolist() == pytest.approx(
        [-2.666667, -1.333333, 0.0, 4.0], abs=1e-6
    )
    assert group_relative(returns, group).tolist() == pytest.approx(
        [-0.925777, -0.462889, 0.0, 1.388666], abs=1e-6
    )


@pytest.mark.parametrize("value", [0.0, 0.1, 1e6 + 0.3])
def test_equal_returns_teach_nothing(value: float) -> None:
    """Trap E12, at any scale: three rows, so that the mean is not exact in single precision."""
    returns, group = torch.full((3,), value), torch.zeros(3, dtype=torch.int64)
    for advantages in (group_relative, group_centered, leave_one_out):
        assert advantages(returns, group).tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("advantages", [group_relative, group_centered, leave_one_out])
def test_a_group_of_one_is_refused(advantages: object) -> None:
    """Trap E11."""
    assert callable(advantages)
    with pytest.raises(ValueError, match=r"at least 2 episodes.*group_size"):
        advantages(double(1, 2, 3), torch.tensor([0, 0, 1]))


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "slope"),
    [
        (1.5, 1.0, -1.2, 0.0),
        (0.5, 1.0, -0.5, -1.0),
        (1.5, -1.0, 1.5, 1.0),
        (0.5, -1.0, 0.8, 0.0),
        (1.1, 1.0, -1.1, -1.0),
        (10.0, -1.0, 10.0, 1.0),
    ],
)
def test_clipped_surrogate(ratio: float, advantage: float, loss: float, slope: float) -> None:
    """Trap E14."""
    ratios = torch.tensor(ratio, dtype=torch.float64, requires_grad=True)
    found = clipped_surrogate(ratios.log(), double(advantage)[0], 0.2, 0.2)
    found.backward()
    assert found.item() == pytest.approx(loss)
    assert ratios.grad is not None
    assert ratios.grad.item() == pytest.approx(slope)
    clipped = is_clipped(ratios.detach().log(), double(advantage)[0], 0.2, 0.2)
    assert clipped.item() is (slope == 0.0)


def test_the_two_sides_clip_by_their_own_epsilon() -> None:
    log_ratio = double(1.25, 1.35, 0.95, 0.85).log()
    advantages = double(1.0, 1.0, -1.0, -1.0)
    found = clipped_surrogate(log_ratio, advantages, 0.1, 0.3)
    assert found.tolist() == pytest.approx([-1.25, -1.3, 0.95, 0.9])
    assert is_clipped(log_ratio, advantages, 0.1, 0.3).tolist() == [False, True, False, True]


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "slope"),
    [
        (10.0, -1.0, 3.0, 0.0),
        (2.9, -1.0, 2.9, 1.0),
        (0.5, -2.0, 1.6, 0.0),
        (10.0, 1.0, -1.2, 0.0),
        (1.1, 1.0, -1.1, -1.0),
    ],
)
def test_a_dual_clip_bounds_what_a_bad_decision_costs(
    ratio: float, advantage: float, loss: float, slope: float
) -> None:
    """arXiv:1912.09729 with c = 3: only negative advantages are bounded."""
    ratios = torch.tensor(ratio, dtype=torch.float64, requires_grad=True)
    found = clipped_surrogate(ratios.log(), double(advantage)[0], 0.2, 0.2, 3.0)
    found.backward()
    assert found.item() == pytest.approx(loss)
    assert ratios.grad is not None
    assert ratios.grad.item() == pytest.approx(slope)
    clipped = is_clipped(ratios.detach().log(), double(advantage)[0], 0.2, 0.2, 3.0)
    assert clipped.item() is (slope == 0.0)


@pytest.mark.parametrize("log_ratio", [200.0, -200.0])
@pytest.mark.parametrize("advantage", [1.0, -1.0])
def test_an_absurd_ratio_stays_finite(log_ratio: float, advantage: float) -> None:
    """Trap D12."""
    given = torch.tensor(log_ratio, requires_grad=True)
    loss = clipped_surrogate(given, torch.tensor(advantage), 0.2, 0.2)
    loss.backward()
    assert given.grad is not None
    assert loss.isfinite()
    assert given.grad.isfinite()


def test_value_losses() -> None:
    """Trap C13: clipped around the old value, and the larger of the two errors."""
    assert squared_value_loss(double(1.5), double(2.0)).item() == 0.125
    assert clipped_value_loss(double(1.5), double(1.0), double(2.0), 0.2).item() == pytest.approx(
        0.32
    )
    assert clipped_value_loss(double(1.1), double(1.0), double(2.0), 0.2).item() == pytest.approx(
        0.405
    )


def test_explained_variance() -> None:
    returns, mask = double(1, 2, 3, math.nan)[None], RAGGED[:1]
    assert explained_variance(returns, returns, mask) == 1.0
    assert explained_variance(double(2, 2, 2, math.nan)[None], returns, mask) == 0.0
    assert explained_variance(double(1, 2, 2, 0)[None], returns, mask) == pytest.approx(2 / 3)
    constant = double(3, 3, 3, 3)[None]
    assert explained_variance(returns, constant, mask) == 0.0


@pytest.mark.parametrize(
    ("observed", "expected"),
    [
        (9.0, 0.201024),
        (3.0, 0.198976),
        (6.3, 0.200256),
        (6.0, 0.2),
        (-5.0, 0.198976),
        (0.0, 0.198976),
        (math.inf, 0.201024),
    ],
)
def test_adaptive_kl_coef(observed: float, expected: float) -> None:
    """Trap D9."""
    found = adaptive_kl_coef(0.2, observed, target=6.0, episodes=256, horizon=10_000)
    assert found == pytest.approx(expected, abs=1e-9)


def test_adaptive_kl_coef_refuses_what_is_no_number() -> None:
    with pytest.raises(ValueError, match="observed KL must be a number"):
        adaptive_kl_coef(0.2, math.nan, target=6.0, episodes=256, horizon=10_000)
    with pytest.raises(ValueError, match="target KL must be greater than 0, got 0"):
        adaptive_kl_coef(0.2, 1.0, target=0.0, episodes=256, horizon=10_000)


FLAT, COLUMN, MATRIX = torch.ones(2), torch.ones(2, 1), torch.ones(2, 2)
NUMBERS, GROUP = torch.ones(2, 2, dtype=torch.int64), torch.zeros(2, dtype=torch.int64)
MASK = torch.ones(2, 2, dtype=torch.bool)


@pytest.mark.parametrize(
    ("formula", "arguments", "message"),
    [
        (masked_mean, (COLUMN, MASK), r"one shape, got values \[2, 1\], mask \[2, 2\]"),
        (masked_mean, (MATRIX, MATRIX), "mask of bool, got torch.float32"),
        (masked_mean, (NUMBERS, MASK), "values of a floating-point type, got torch.int64"),
        (center, (COLUMN, MASK), r"one shape, got values \[2, 1\], mask"),
        (whiten, (FLAT, MASK), r"one shape, got values \[2\], mask \[2, 2\]"),
        (scale_to_unit_variance, (FLAT, MASK), r"one shape, got values \[2\], mask"),
        (discount_weights, (MASK[0], 0.9), r"one shape of 2 dimensions, got mask \[2\]"),
        (discounted_returns, (COLUMN, MASK, 0.9), r"2 dimensions, got rewards \[2, 1\], mask"),
        (discounted_returns, (FLAT, MASK[0], 0.9), r"2 dimensions, got rewards \[2\], mask \[2\]"),
        (gae, (MATRIX, COLUMN, MASK, FLAT, 1.0, 1.0), r"got rewards \[2, 2\], values \[2, 1\], m"),
        (gae, (MATRIX, MATRIX, MASK, COLUMN, 1.0, 1.0), r"bootstrap of shape \[2\], .* got \[2, 1"),
        (group_relative, (COLUMN, GROUP), r"one shape of 1 dimensions, got returns \[2, 1\], gro"),
        (group_relative, (FLAT, FLAT), "group of an integer type, got torch.float32"),
        (group_deviation, (COLUMN, GROUP), r"got returns \[2, 1\], group \[2\]"),
        (group_centered, (COLUMN, GROUP), r"got returns \[2, 1\], group \[2\]"),
        (leave_one_out, (MATRIX, NUMBERS), r"1 dimensions, got returns \[2, 2\], group \[2, 2\]"),
        (clipped_surrogate, (MATRIX, FLAT, 0.2, 0.2), r"log_ratio \[2, 2\], advantages \[2\]"),
        (is_clipped, (MATRIX, COLUMN, 0.2, 0.2), r"log_ratio \[2, 2\], advantages \[2, 1\]"),
        (squared_value_loss, (COLUMN, FLAT), r"values \[2, 1\], returns \[2\]"),
        (clipped_value_loss, (MATRIX, COLUMN, MATRIX, 0.2), r"old_values \[2, 1\], returns \[2, 2"),
        (
            explained_variance,
            (COLUMN, FLAT, MASK[0]),
            r"values \[2, 1\], returns \[2\], mask",
        ),
    ],
)
def test_shapes_that_would_broadcast_are_refused(
    formula: Callable[..., object], arguments: tuple[object, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=f"^[a-z_]+ needs .*{message}"):
        formula(*arguments)
