from __future__ import annotations

import numpy as np
import pytest

from rlhf_env.statistics import (
    Estimate,
    Floats,
    Rows,
    bootstrap_interval,
    bootstrap_rows,
    percentile_estimate,
    wilson,
)


@pytest.mark.parametrize(
    ("wins", "count", "low", "high"),
    [
        # n / (n + z²) with z = 1.959964, and Wilson (1927) for half of ten.
        (10, 10, 0.722467, 1.0),
        (0, 10, 0.0, 0.277533),
        (5, 10, 0.236593, 0.763407),
    ],
)
def test_wilson(wins: float, count: int, low: float, high: float) -> None:
    found = wilson(wins, count)
    assert (found.value, found.count) == (wins / count, count)
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-6)


def test_half_a_win_widens_the_interval_to_either_side() -> None:
    found, below, above = wilson(4.5, 10), wilson(4, 10), wilson(5, 10)
    assert (found.value, found.low, found.high) == (0.45, below.low, above.high)


def test_an_estimate_is_written_with_its_interval_if_it_has_one() -> None:
    assert str(Estimate(value=0.5, low=0.25, high=0.75)) == "0.500 [0.250, 0.750]"
    assert str(Estimate(value=0.5, low=None, high=None, count=1)) == "0.500"


def test_percentiles_of_resampled_values() -> None:
    found = percentile_estimate(50.0, np.arange(101.0), 7)
    assert (found.value, found.count) == (50.0, 7)
    assert (found.low, found.high) == pytest.approx((2.5, 97.5))


@pytest.mark.parametrize("resampled", [[1.0, float("nan")], [1.0, float("inf")], []])
def test_there_is_no_interval_without_numbers(resampled: list[float]) -> None:
    found = percentile_estimate(1.0, np.array(resampled), 5)
    assert (found.low, found.high) == (None, None)
    assert percentile_estimate(1.0, np.array([1.0, 1.0]), 1).low is None


def test_rows_are_drawn_with_replacement_and_the_same_every_time() -> None:
    def first_two(rows: Rows) -> Floats:
        return rows[..., 0] + 10.0 * rows[..., 1]

    drawn = bootstrap_rows(first_two, 3, resamples=900)
    assert drawn.shape == (900,)
    assert set(drawn.tolist()) == {a + 10.0 * b for a in range(3) for b in range(3)}
    np.testing.assert_array_equal(drawn, bootstrap_rows(first_two, 3, resamples=900))


def test_one_row_is_drawn_in_one_way() -> None:
    drawn = bootstrap_rows(lambda rows: rows.sum(axis=-1) + 2.0, 1, resamples=5)
    np.testing.assert_array_equal(drawn, np.full(5, 2.0))


def test_paired_samples_are_drawn_together() -> None:
    x = np.array([1.0, 5.0, 2.0, 8.0])

    def difference(a: Floats, b: Floats, axis: int) -> Floats:
        return a.mean(axis=axis) - b.mean(axis=axis)

    low, high = bootstrap_interval([x + 3.0, x], difference, paired=True)
    assert (low, high) == pytest.approx((3.0, 3.0))
    low, high = bootstrap_interval([x + 3.0, x], difference)
    assert low < 2.0 < 4.0 < high
