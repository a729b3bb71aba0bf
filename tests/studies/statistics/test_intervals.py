from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from studies.reporting.improvement import comparisons, probability_of_improvement
from studies.statistics.intervals import (
    bands,
    estimate,
    estimates,
    interquartile_mean,
    pooled_estimate,
)


def test_the_interquartile_mean_drops_a_quarter_from_either_end():
    assert interquartile_mean([9.0, 1.0, 2.0, 3.0, 100.0]) == pytest.approx(14 / 3)
    assert interquartile_mean([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 70.0]) == pytest.approx(3.5)
    assert interquartile_mean([1.0, 2.0, 6.0]) == pytest.approx(3.0)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 8, 11])
def test_the_interquartile_mean_is_scipys_trimmed_mean(count: int):
    values = np.random.default_rng(count).normal(size=(3, count, 2))
    expected = stats.trim_mean(values, 0.25, axis=1)
    np.testing.assert_allclose(interquartile_mean(values, axis=1), expected)


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


def test_many_estimates_at_once_are_those_of_each():
    rows = [[0.9, 0.91, 0.92], [5.0], [], [1.0, 2.0, math.nan, 6.0], [1.0, 2.0, 3.0, 4.0]]
    assert estimates(rows) == [estimate(row) for row in rows]
    assert estimates([]) == []


def test_a_band_has_no_width_where_a_run_is_alone():
    ((low, high), (alone, _)) = bands([[np.array([[1.0, 2.0], [3.0, 2.0]])], [np.ones((1, 3))]])
    np.testing.assert_array_equal(low, [1.0, 2.0])
    np.testing.assert_array_equal(high, [3.0, 2.0])
    assert alone.shape == (3,) and np.isnan(alone).all()
    assert bands([]) == []


def test_a_band_of_several_settings_is_stratified():
    settings = [np.array([[0.0, 1.0]] * 3), np.array([[2.0, 5.0]] * 3), np.array([[4.0, 9.0]])]
    ((low, high),) = bands([settings])
    # The middle of 0 0 0 2 2 2 4 without its ends is 0 0 2 2 2; nothing but settings differs.
    np.testing.assert_allclose(low, [1.2, 3.4])
    np.testing.assert_allclose(high, [1.2, 3.4])


def test_bands_resampled_together_belong_to_their_lines():
    low_line, high_line = np.array([[0.0], [1.0]]), np.array([[10.0], [11.0]])
    found = bands([[low_line], [high_line], [np.array([[5.0], [5.0], [5.0]])]])
    np.testing.assert_array_equal(
        np.concatenate([np.stack(ends) for ends in found]).ravel(), [0.0, 1.0, 10.0, 11.0, 5.0, 5.0]
    )


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


def test_probability_of_improvement_is_mann_whitneys():
    # scipy.stats.mannwhitneyu([3, 1, 4, 1, 5], [2, 7, 1, 8]).statistic is 7.0, of 20 pairs.
    found = probability_of_improvement([([3.0, 1.0, 4.0, 1.0, 5.0], [2.0, 7.0, 1.0, 8.0])])
    assert found is not None
    assert found.value == 0.35


def runs(**columns: list) -> pd.DataFrame:
    """Two seeds of a token MDP and of a bandit, at two discounts."""
    base = {
        "run_id": [f"r{number}" for number in range(8)],
        "status": ["ok"] * 8,
        "agent": ["ppo"] * 8,
        "gamma": [0.9, 0.9, 1.0, 1.0] * 2,
        "density": ["terminal"] * 8,
        "granularity": ["token"] * 4 + ["bandit"] * 4,
        "seed": [0, 1] * 4,
        "score": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 5.0, 6.0],
        "kl": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.5, 0.60000001],
    }
    return pd.DataFrame({**base, **columns})


def test_comparisons_are_between_matched_settings():
    agents = ["ppo", "grpo"] * 4
    found = comparisons(runs(agent=agents, seed=[0] * 8), "score", ["score", "kl"])
    assert (found[0].axis, found[0].value, found[0].baseline) == ("agent", "grpo", "ppo")
    assert found[0].probability is not None
    assert (found[0].probability.value, found[0].settings, found[0].same) == (1.0, 4, 0)


def test_settings_whose_runs_are_the_same_are_left_out_and_counted():
    gamma, granularity = comparisons(runs(), "score", ["score", "kl"])
    # The bandit's two settings would have pulled the certain 1.0 of the token MDP to 0.75.
    assert (gamma.axis, gamma.settings, gamma.same) == ("gamma", 1, 1)
    assert gamma.probability is not None and gamma.probability.value == 1.0
    assert (granularity.axis, granularity.settings, granularity.same) == ("granularity", 2, 0)


def test_equal_scores_alone_do_not_make_runs_the_same():
    kl = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]
    gamma, _ = comparisons(runs(kl=kl), "score", ["score", "kl"])
    assert (gamma.settings, gamma.same) == (2, 0)
    assert gamma.probability is not None and gamma.probability.value == 0.75


def test_where_all_runs_are_the_same_there_is_no_probability():
    found = comparisons(
        runs(granularity=["bandit"] * 8, score=[1.0] * 8, kl=[2.0] * 8), "score", []
    )
    assert [(one.axis, one.probability, one.same) for one in found] == [("gamma", None, 1)]


def test_a_run_that_the_other_setting_lacks_makes_them_differ():
    gamma, _ = comparisons(runs().drop(index=7), "score", ["score", "kl"])
    assert (gamma.settings, gamma.same) == (2, 0)


def test_comparisons_of_nothing_are_none():
    assert comparisons(pd.DataFrame(), "score", []) == []
    assert comparisons(runs(status=["failed"] * 8), "score", []) == []
    assert comparisons(runs(score=[math.nan] * 8), "score", []) == []
