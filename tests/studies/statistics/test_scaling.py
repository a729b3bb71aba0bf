from __future__ import annotations

import math

import numpy as np
import pytest

from studies.statistics.scaling import exponent, ratio

HORIZONS = [8, 16, 32, 64]


def law(power: float, *factors: float) -> list[np.ndarray]:
    """Runs that follow a law but for a factor each."""
    return [np.array([10.0 * t**power * factor for factor in factors]) for t in HORIZONS]


def test_the_exponent_of_an_exact_law() -> None:
    found = exponent(HORIZONS, law(1.5, 1.0, 1.0, 1.0))
    assert found is not None and found.count == 4
    assert (found.value, found.low, found.high) == pytest.approx((1.5, 1.5, 1.5))


def test_of_three_hand_made_horizons() -> None:
    # Log episodes ln 2 · (3, 4, 6) at T = 2, 4, 8: the slope is (6 − 3) / 2.
    found = exponent([2, 4, 8], [np.array([8.0]), np.array([16.0]), np.array([64.0])])
    assert found is not None and found.value == pytest.approx(1.5)
    assert found.low is None and found.high is None


def test_its_interval_holds_the_truth_as_often_as_it_should() -> None:
    random = np.random.default_rng(0)
    held = 0
    for _ in range(100):
        runs = [10.0 * t * np.exp(random.normal(0.0, 0.3, 20)) for t in HORIZONS]
        found = exponent(HORIZONS, runs)
        assert found is not None and found.low is not None and found.high is not None
        held += found.low < 1.0 < found.high
    assert 85 <= held <= 100


def test_horizons_with_a_run_that_never_arrives_are_left_out() -> None:
    runs = law(1.0, 1.0, 2.0)
    runs[3] = np.array([640.0, math.inf])
    found = exponent(HORIZONS, runs)
    assert found is not None and (found.value, found.count) == (pytest.approx(1.0), 3)
    runs[1] = np.array([math.inf, math.inf])
    assert exponent(HORIZONS, runs) is None


def test_ratios_of_geometric_means() -> None:
    found = ratio(np.array([200.0, 800.0]), np.array([100.0, 100.0]))
    assert found is not None and found.value == pytest.approx(4.0)
    assert (found.low, found.high) == pytest.approx((2.0, 8.0))
    assert ratio(np.array([200.0, math.inf]), np.array([100.0])) is None
    assert ratio(np.array([200.0]), np.array([math.inf])) is None
