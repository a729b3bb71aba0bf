"""Signals on short runs, worked out by hand; windows are of two updates."""

from __future__ import annotations

import numpy as np
import pytest

from agents.callbacks import SIGNALS, EarlyWarning, Limits
from agents.callbacks.signals import first_alarms, noise

LIMITS = Limits(window=2)


def rows(**columns: list[float]) -> list[dict[str, float]]:
    count = len(next(iter(columns.values())))
    return [
        {"update": float(i + 1)} | {name: column[i] for name, column in columns.items()}
        for i in range(count)
    ]


def alarms(limits: Limits = LIMITS, **columns: list[float]) -> dict[str, int]:
    return first_alarms(rows(**columns), SIGNALS, limits)


def test_noise_is_that_of_the_steps() -> None:
    """Steps 1, 3, 1: the median is 1, and 1 / (0.6745 √2) = 1.0483."""
    assert noise([0.0, 1.0, -2.0, -1.0]) == pytest.approx(1.0483, abs=1e-4)
    assert noise([7.0]) == 0.0


def test_gold_falls_while_the_score_rises() -> None:
    """Means of two: 0, 0.5, 2, 3, 1.5, 0.5. Steps 0, 1, 2, 0, 3, 0 have a median of at most 1.

    At update 6 the fall is 1.5; the error is median([0, 1, 2, 0, 3]) / 0.9539 = 1.048, and three
    of it is 3.14. So it takes limits of one error for update 6.
    """
    gold, score = [0.0, 0.0, 1.0, 3.0, 3.0, 0.0, 0.0], [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    one = Limits(window=2, standard_errors=1.0)
    assert alarms(one, gold=gold, score=score) == {"gold_gap": 6}
    # At update 7 the fall is 3 and the median step 0.5, so the error 0.524.
    assert alarms(gold=gold, score=score) == {"gold_gap": 7}


def test_gold_and_score_fall_together() -> None:
    gold = [0.0, 0.0, 1.0, 3.0, 3.0, 0.0, 0.0]
    assert alarms(gold=gold, score=gold) == {}


def test_the_kl_buys_no_more_score() -> None:
    """At first 2 points for 2 nats; from update 4 to 8 nothing for 8 nats."""
    kl = [0.0, 0.0, 2.0, 2.0, 6.0, 6.0, 12.0, 12.0]
    score = [0.0, 0.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0]
    assert alarms(kl=kl, score=score)["kl_slope"] in (6, 7, 8)
    assert alarms(kl=kl, score=kl) == {}


def test_the_length_drifts_both_ways() -> None:
    """A quarter of 20 tokens is 5, and a noiseless series has no error."""
    assert alarms(response_length=[20, 20, 20, 24.9, 24.9]) == {}
    assert alarms(response_length=[20, 20, 20, 26, 26]) == {"length_drift": 5}
    assert alarms(response_length=[20, 20, 20, 14, 14]) == {"length_drift": 5}


def test_disagreement_rises_and_entropy_falls() -> None:
    assert alarms(disagreement=[0.2, 0.2, 0.2, 0.39, 0.39]) == {"disagreement": 5}
    assert alarms(disagreement=[0.4, 0.4, 0.4, 0.1, 0.1]) == {}
    assert alarms(entropy=[1.5, 1.5, 1.5, 0.7, 0.7]) == {"entropy": 5}
    assert alarms(entropy=[0.7, 0.7, 0.7, 1.5, 1.5]) == {}


def test_noise_alone_is_no_sign() -> None:
    noisy = np.random.default_rng(0).normal(20, 4, size=60).tolist()
    assert alarms(Limits(), response_length=noisy, entropy=noisy, disagreement=noisy) == {}


def test_what_is_not_measured_gives_no_sign() -> None:
    assert alarms(score=[1.0, 2.0, 3.0, 4.0, 5.0]) == {}
    assert alarms(gold=[float("nan")] * 5, score=[1.0] * 5) == {}


def test_a_resumed_run_says_what_the_whole_run_says(caplog: pytest.LogCaptureFixture) -> None:
    run = rows(response_length=[20.0, 20.0, 20.0, 26.0, 26.0, 26.0])
    whole = EarlyWarning(limits=LIMITS)
    for row in run:
        whole(None, row)
    assert [record.message for record in caplog.records] == [
        "update 5: responses have gone from 20 to 26 tokens: is it the length that is paid?"
    ]
    resumed = EarlyWarning(limits=LIMITS, history=run[:3])
    for row in run[3:]:
        resumed(None, row)
    assert resumed.alarms == whole.alarms == {"length_drift": 5}
    # The checkpoint was of update 2: 3 happens again.
    again = EarlyWarning(limits=LIMITS, history=run[:4])
    for row in run[2:]:
        again(None, row)
    assert again.alarms == whole.alarms


def test_a_signal_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="did you mean 'gold_gap'"):
        EarlyWarning(signals=("gold_gab",))
    with pytest.raises(ValueError, match="window"):
        Limits(window=0)
