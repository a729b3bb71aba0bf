from __future__ import annotations

import math

import numpy as np
import pytest

from studies.statistics.gao import (
    BEST_OF_N,
    RL,
    Fit,
    best_of_n_gain,
    best_of_n_peak,
    fit,
    rl_gain,
    rl_peak,
)


def test_the_laws_at_hand_computed_points():
    np.testing.assert_allclose(best_of_n_gain([0.0, 1.0, 2.0], 2.0, 0.3), [0.0, 1.7, 2.8])
    # log 1 = 0; at e: e (2 − 1 · 1) = e.
    np.testing.assert_allclose(rl_gain([0.0, 1.0, math.e], 2.0, 1.0), [0.0, 2.0, 2.718282], 1e-6)


def test_the_peaks_that_follow_from_the_laws():
    best_of_n = Fit(form=BEST_OF_N, alpha=2.0, beta=0.3, r_squared=1.0)
    assert best_of_n.peak == pytest.approx((3.3333, 3.3333), abs=1e-4)
    rl = Fit(form=RL, alpha=2.0, beta=1.0, r_squared=1.0)
    assert rl.peak == pytest.approx((2.718282, 2.718282), abs=1e-6)
    assert best_of_n_peak(2.0, 0.3) == pytest.approx(10 / 3)
    assert rl_peak(1.0, 1.0) == 1.0


@pytest.mark.parametrize(
    ("form", "alpha", "beta"),
    [(BEST_OF_N, 2.0, 0.0), (BEST_OF_N, 2.0, -1.0), (BEST_OF_N, -1.0, 1.0), (RL, 1.0, 1e-9)],
)
def test_a_law_that_never_turns_has_no_peak(form, alpha: float, beta: float):
    assert Fit(form=form, alpha=alpha, beta=beta, r_squared=1.0).peak is None


def test_the_fit_finds_the_numbers_that_made_the_points():
    distance = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0]
    best_of_n = fit(BEST_OF_N, distance, [0.0, 0.925, 1.7, 2.325, 2.8, 3.3])
    assert best_of_n is not None
    assert (best_of_n.alpha, best_of_n.beta) == pytest.approx((2.0, 0.3))
    assert best_of_n.r_squared == pytest.approx(1.0)
    rl = fit(RL, distance, [0.0, 1.346574, 2.0, 2.391802, 2.613706, 2.704163])
    assert rl is not None
    assert (rl.alpha, rl.beta) == pytest.approx((2.0, 1.0), abs=1e-5)


def test_best_of_n_on_an_exact_curve_of_overoptimization():
    # Exact KL and gold of best-of-n by a proxy that is wrong about one response; E_ref[gold] is
    # −0.022424. The numbers are numpy.linalg.lstsq's on the columns d and −d².
    kl = [0.169163, 0.525231, 1.014118, 1.719833, 2.424884, 3.047207, 4.074932]
    gold = np.array([0.371415, 0.608753, 0.781402, 0.825088, 0.567450, 0.009767, -0.943213])
    found = fit(BEST_OF_N, np.sqrt(kl), gold + 0.022424)
    assert found is not None
    assert (found.alpha, found.beta) == pytest.approx((2.021752, 1.167643), abs=1e-5)
    assert found.r_squared == pytest.approx(0.875081, abs=1e-5)


def test_a_poor_fit_says_so():
    found = fit(BEST_OF_N, [1.0, 2.0, 3.0, 4.0], [5.0, -5.0, 5.0, -5.0])
    assert found is not None
    assert found.r_squared < 0.3


@pytest.mark.parametrize(
    ("distance", "gain"),
    [
        ([], []),
        ([0.0, 1.0, 2.0], [0.0, 1.0, 2.0]),
        ([1.0, 1.0, 1.0, 1.0], [1.0, 2.0, 3.0, 4.0]),
        ([1.0, 2.0, 3.0], [2.0, 2.0, 2.0]),
        ([1.0, 2.0, math.nan], [1.0, 3.0, 2.0]),
        ([1.0, 2.0, 3.0], [1.0, math.inf, 2.0]),
    ],
)
def test_too_little_to_fit_gives_none(distance: list[float], gain: list[float]):
    assert fit(RL, distance, gain) is None
