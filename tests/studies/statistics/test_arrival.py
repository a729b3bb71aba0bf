from __future__ import annotations

import math

import numpy as np
import pytest

from rlhf_env.statistics import Estimate
from studies.statistics.arrival import (
    NEVER,
    are_apart,
    arrival_estimate,
    first_arrival,
    gained_share,
)


def test_the_share_gained_is_0_at_the_reference_and_1_at_the_optimum():
    # J_ref 0.2, J* 0.6: half way is 0.4, and 0.1 is a quarter of the way backwards.
    assert gained_share([0.2, 0.4, 0.6, 0.1], 0.2, 0.6) == pytest.approx([0.0, 0.5, 1.0, -0.25])


def test_where_nothing_is_to_be_gained_there_is_no_share():
    with pytest.raises(ValueError, match="must be above the reference's objective"):
        gained_share([0.5], 0.5, 0.5)


def test_a_curve_arrives_at_its_first_point_that_has_gained_enough():
    assert first_arrival([64, 128, 192, 256], [0.1, 0.9, 0.5, 0.99]) == 128
    assert first_arrival([64, 128, 192], [math.nan, 0.2, 0.95]) == 192
    assert first_arrival([64, 128], [0.1, 0.3], target=0.25) == 128


def test_a_curve_that_does_not_arrive_never_does():
    assert first_arrival([64, 128], [0.1, 0.899]) == NEVER
    assert first_arrival([64, 128], [math.nan, math.nan]) == NEVER
    assert first_arrival([], []) == NEVER


def test_runs_that_never_arrive_count_as_the_longest():
    found = arrival_estimate([100, 300, 200, NEVER, 400])
    assert found is not None
    # Of five, a resample's median is the least or the greatest of them in 5.8 % of the cases each.
    assert (found.value, found.low, found.high, found.count) == (300, 100, NEVER, 5)


def test_where_half_never_arrive_the_median_does_not_either():
    found = arrival_estimate([100, 200, NEVER, NEVER])
    assert found is not None
    assert (found.value, found.low, found.high) == (NEVER, 100, NEVER)


def test_where_none_arrives_the_interval_is_beyond_every_number():
    found = arrival_estimate([NEVER] * 5)
    assert found is not None
    assert (found.value, found.low, found.high) == (NEVER, NEVER, NEVER)


def test_few_censored_runs_of_many_leave_the_interval_finite():
    found = arrival_estimate([*range(100, 120), NEVER])
    assert found is not None
    assert found.value == 110
    assert found.low is not None and 100 < found.low < 110
    assert found.high is not None and 110 < found.high < 119


def test_one_run_has_no_interval_and_none_no_estimate():
    assert arrival_estimate([NEVER]) == Estimate(value=NEVER, low=None, high=None, count=1)
    assert arrival_estimate([np.nan]) is None


@pytest.mark.parametrize(
    ("one", "other", "apart"),
    [
        ((1, 2), (3, 4), True),
        ((1, 3), (3, 4), False),
        ((1, 2), (NEVER, NEVER), True),
        ((1, NEVER), (NEVER, NEVER), False),
        ((NEVER, NEVER), (NEVER, NEVER), False),
        ((1, 2), (None, None), False),
    ],
)
def test_intervals_that_do_not_touch_are_apart(one: tuple, other: tuple, apart: bool):
    first, second = (Estimate(value=1.0, low=low, high=high, count=5) for low, high in (one, other))
    assert are_apart(first, second) == are_apart(second, first) == apart
