"""Residuals of paths, on numbers worked out by hand."""

from __future__ import annotations

import pytest
import torch

from agents.off_policy.residuals import (
    group_log_z,
    path_residuals,
    soft_gains,
    sub_path_residuals,
    trajectory_residuals,
)

# Two episodes, of three decisions and of one; what is outside the mask is absurd.
MASK = torch.tensor([[True, True, True], [True, False, False]])
REWARDS = torch.tensor([[1.0, 0.0, 3.0], [2.0, 99.0, 99.0]], dtype=torch.float64)
RATIOS = torch.tensor([[0.5, -1.0, 2.0], [0.25, 99.0, 99.0]], dtype=torch.float64)
VALUES = torch.tensor([[4.0, 2.0, 1.0], [3.0, 99.0, 99.0]], dtype=torch.float64)
BETA = torch.tensor([0.5, 2.0], dtype=torch.float64)
LAST = torch.tensor([0.0, 0.5], dtype=torch.float64)
# r − beta log(pi/pi_ref): 1 − 0.25, 0 + 0.5, 3 − 1; and 2 − 0.5.
GAINS = [[0.75, 0.5, 2.0], [1.5, 0.0, 0.0]]


def gains() -> torch.Tensor:
    return soft_gains(REWARDS, RATIOS, MASK, BETA)


def test_gains() -> None:
    assert gains().tolist() == GAINS


@pytest.mark.parametrize(
    ("gamma", "expected"),
    [
        # −(0.75 + 0.5 + 2)/0.5 and −1.5/2.
        (1.0, [-6.5, -0.75]),
        # −(0.75 + 0.25 + 0.5)/0.5
        (0.5, [-3.0, -0.75]),
        (0.0, [-1.5, -0.75]),
    ],
)
def test_whole_trajectories(gamma: float, expected: list[float]) -> None:
    found = trajectory_residuals(REWARDS, RATIOS, MASK, BETA, gamma)
    assert found.tolist() == pytest.approx(expected, abs=1e-12)


def test_every_sub_path_without_discount() -> None:
    """From 0: 4 − 0.75 − 2, 4 − 1.25 − 1, 4 − 3.25; from 1: 2 − 0.5 − 1, 2 − 2.5; from 2: 1 − 2."""
    found, is_path = sub_path_residuals(VALUES, LAST, gains(), MASK, 1.0)
    assert found[0].tolist() == [[1.25, 1.75, 0.75], [0.0, 0.5, -0.5], [0.0, 0.0, -1.0]]
    # 3 − 1.5 − 0.5: the second episode was truncated, and its last state is worth 0.5.
    assert found[1].tolist() == [[1.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    assert is_path.sum(dim=(1, 2)).tolist() == [6, 1]


def test_every_sub_path_with_discount() -> None:
    """From 0: 4 − 0.75 − 1, 4 − 1 − 0.25, 4 − 1.5; from 1: 2 − 1, 2 − 1.5; from 2: 1 − 2."""
    found, _ = sub_path_residuals(VALUES, LAST, gains(), MASK, 0.5)
    assert found[0].tolist() == [[2.25, 2.75, 2.5], [0.0, 1.0, 0.5], [0.0, 0.0, -1.0]]
    assert found[1, 0, 0].item() == 3 - 1.5 - 0.25


@pytest.mark.parametrize(
    ("gamma", "length", "first", "second"),
    [
        (1.0, 1, [1.25, 0.5, -1.0], 1.0),
        (1.0, 2, [1.75, -0.5, -1.0], 1.0),
        (1.0, 7, [0.75, -0.5, -1.0], 1.0),
        (0.5, 2, [2.75, 0.5, -1.0], 1.25),
        (0.0, 2, [3.25, 1.5, -1.0], 1.5),
    ],
)
def test_paths_of_a_length(gamma: float, length: int, first: list[float], second: float) -> None:
    found = path_residuals(VALUES, LAST, gains(), MASK, gamma, length)
    assert found.tolist() == [first, [second, 0.0, 0.0]]


def test_log_z_of_groups() -> None:
    """Each group's residuals have mean 0 with it."""
    residuals = torch.tensor([-1.0, -3.0, 5.0, 1.0, 0.0])
    group = torch.tensor([7, 7, 2, 2, 2])
    assert group_log_z(residuals, group).tolist() == [2.0, 2.0, -2.0, -2.0, -2.0]


def test_a_group_of_one_is_refused() -> None:
    with pytest.raises(ValueError, match=r"at least 2 responses to a prompt, got one of 1"):
        group_log_z(torch.tensor([1.0, 2.0]), torch.tensor([0, 1]))


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"soft_gains needs tensors of one shape"):
        soft_gains(REWARDS[:, :2], RATIOS, MASK, BETA)
    with pytest.raises(ValueError, match=r"soft_gains needs kl_coef of shape \[2\]"):
        soft_gains(REWARDS, RATIOS, MASK, BETA[:1])
    with pytest.raises(ValueError, match=r"path_residuals needs last_values of shape \[2\]"):
        path_residuals(VALUES, LAST[:1], gains(), MASK, 1.0, 1)
