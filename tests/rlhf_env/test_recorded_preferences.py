"""The field of a rollout that says how the responses of a group compare."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from rlhf_env.rollout import Rollout, join

NAN = math.nan


def rollout(preference: Tensor | None, rows: int = 2, width: int = 3) -> Rollout:
    """Episodes of a one-token prompt, all of one group."""
    nothing = torch.zeros(rows, width)
    is_action = torch.ones(rows, width, dtype=torch.bool)
    is_action[:, 0] = False
    return Rollout(
        tokens=torch.ones(rows, width, dtype=torch.int64),
        is_action=is_action,
        logprobs=nothing,
        ref_logprobs=nothing,
        rewards=nothing,
        reward_terms={"score": nothing, "kl": nothing},
        score=torch.zeros(rows),
        terminated=torch.ones(rows, dtype=torch.bool),
        group=torch.zeros(rows, dtype=torch.int64),
        prompt_index=torch.zeros(rows, dtype=torch.int64),
        decision=torch.arange(-1, width - 1).expand(rows, width),
        preference=preference,
    )


PAIR = torch.tensor([[0.5, 1.0], [0.0, 0.5]])
LIST = torch.tensor([[0.5, 0.7, NAN], [0.3, 0.5, NAN], [NAN, NAN, 0.5]])


def test_rows_are_taken_with_their_preferences() -> None:
    taken = rollout(LIST, rows=3).take(torch.tensor([2, 0]))
    assert taken.preference is not None
    assert torch.equal(taken.preference.isnan(), LIST[[2, 0]].isnan())
    assert rollout(None).take(torch.tensor([1])).preference is None


def test_groups_of_several_sizes_and_widths_are_joined() -> None:
    """A pair among lists has no third column, and more tokens are no more columns."""
    joined = join([rollout(PAIR, width=5), rollout(LIST, rows=3, width=2)], pad_id=0)
    assert joined.tokens.shape == (5, 5)
    assert joined.preference is not None
    expected = [[0.5, 1, NAN], [0, 0.5, NAN], *LIST.tolist()]
    torch.testing.assert_close(joined.preference, torch.tensor(expected), equal_nan=True)
    assert joined.group.tolist() == [0, 0, 1, 1, 1]


def test_one_without_preferences_leaves_the_joined_without() -> None:
    assert join([rollout(PAIR), rollout(None)], pad_id=0).preference is None


@pytest.mark.parametrize(
    ("preference", "message"),
    [
        (torch.tensor([0.5, 1.0]), r"preference must be \[B, K\] with B = 2, got \[2\]"),
        (LIST, r"preference must be \[B, K\] with B = 2, got \[3, 3\]"),
        (torch.zeros(2, 0), r"preference must be \[B, K\] with B = 2, got \[2, 0\]"),
        (PAIR * 2, "preference must hold probabilities .* got 2"),
        (-PAIR, "preference must hold probabilities .* got -0.5"),
    ],
)
def test_what_is_no_preference_is_refused(preference: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rollout(preference)
