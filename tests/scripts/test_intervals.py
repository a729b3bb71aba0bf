from __future__ import annotations

import math

import numpy as np
import pytest

from scripts.reporting.intervals import (
    band,
    estimate,
    interquartile_mean,
    pooled_estimate,
    probability_of_improvement,
)


def test_the_interquartile_mean_drops_a_quarter_from_either_end():
    assert interquartile_mean([9.0, 1.0, 2.0, 3.0, 100.0]) == pytest.approx(14 / 3)
    assert interquartile_mean([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 70.0]) == pytest.approx(3.5)
    assert interquartile_mean([1.0, 2.0, 6.0]) == pytest.approx(3.0)


def test_an_outlier_does_not_move_the_estimate_and_the_interval_holds_it():
    found = estimate([0.90, 0.91, 0.92, 0.93, -50.0])
    assert found is not None
    assert found.value == pytest.approx(0.91)
    assert found.low is not None and found.high is not None
    assert found.low < 0.91 < found.high <= 0.93
    assert found.count == 5


def test_one_run_has_no_interval():
    found = estimate([0.5])
    assert found is not None
    assert (found.value, found.low, found.high, found.count) == (0.5, None, None, 1)
    assert str(found) == "0.500"


def test_equal_runs_have_an_interval_of_no_width():
    found = estimate([2.0, 2.0, 2.0])
    assert found is not None
    assert (found.low, found.high) == (2.0, 2.0)
    assert str(found) == "2.000 [2.000, 2.000]"


def test_numbers_that_are_not_finite_are_left_out():
    found = estimate([1.0, math.nan, math.inf])
    assert found is not None
    assert (found.value, found.count) == (1.0, 1)
    assert estimate([math.nan]) is None
    assert estimate([]) is None


def test_estimates_are_repeatable():
    assert estimate([1.0, 2.0, 4.0, 8.0]) == estimate([1.0, 2.0, 4.0, 8.0])


def test_the_interval_of_a_mean_has_the_width_that_theory_gives():
    # 400 draws of standard deviation 1: the middle half's mean has a standard error near 0.0545.
    values = np.random.default_rng(0).normal(size=400)
    found = estimate(values)
    assert found is not None and found.low is not None and found.high is not None
    assert found.high - found.low == pytest.approx(2 * 1.96 * 0.0545, rel=0.2)


def test_pooling_does_not_count_the_difference_between_settings_as_noise():
    apart = pooled_estimate([[0.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]])
    assert apart is not None
    assert (apart.value, apart.low, apart.high) == (0.5, 0.5, 0.5)


def test_pooling_keeps_settings_with_one_run():
    found = pooled_estimate([[1.0, 2.0, 3.0], [5.0]])
    assert found is not None
    assert (found.value, found.count) == (2.5, 4)
    alone = pooled_estimate([[1.0], [2.0]])
    assert alone is not None
    assert (alone.value, alone.low) == (1.5, None)


def test_a_band_has_no_width_where_a_run_is_unknown_or_alone():
    middle, low, high = band([[1.0, 2.0], [3.0, math.nan]])
    assert middle[0] == 2.0
    assert low[0] == 1.0 and high[0] == 3.0
    assert math.isnan(low[1])
    _, low, _ = band([[1.0, 2.0]])
    assert np.isnan(low).all()


def test_probability_of_improvement_counts_pairs():
    # Of the six pairs, 3 > 2 twice, 2 = 2 twice (half each), 1 < 2 twice.
    found = probability_of_improvement([([1.0, 2.0, 3.0], [2.0, 2.0])])
    assert found is not None
    assert found.value == 0.5
    sure = probability_of_improvement([([5.0, 6.0], [1.0, 2.0])])
    assert sure is not None
    assert (sure.value, sure.low, sure.high) == (1.0, 1.0, 1.0)


def test_probability_of_improvement_averages_over_settings():
    found = probability_of_improvement([([5.0, 6.0], [1.0, 2.0]), ([0.0, 0.0], [1.0, 2.0])])
    assert found is not None
    assert found.value == 0.5


def test_probability_of_improvement_of_equal_runs_is_a_half():
    found = probability_of_improvement([([1.0, 1.0], [1.0, 1.0])])
    assert found is not None
    assert found.value == 0.5


def test_probability_of_improvement_without_data_or_with_one_run():
    assert probability_of_improvement([([], [1.0])]) is None
    found = probability_of_improvement([([2.0], [1.0])])
    assert found is not None
    assert (found.value, found.low) == (1.0, None)
