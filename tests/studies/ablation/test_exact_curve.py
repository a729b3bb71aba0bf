from __future__ import annotations

import pytest

from rlhf_env import load_task
from studies.ablation.exact_curve import ExactCurve
from studies.ablation.execute import execute
from tests.studies.experiment.test_build import make_run


def test_an_agent_that_only_acts_gets_estimates_from_its_episodes():
    row = execute(make_run(agent="tests.studies.own_agents:Uniform", gae_lambda=None)).row
    assert row["objective_episodes"] == 16
    # J* of toy15 at its coefficient of 0.5 is 1.125295.
    assert row["regret"] == pytest.approx(1.125295 - row["objective"], abs=1e-6)
    assert row["j_ratio"] == pytest.approx(row["objective"] / 1.125295, abs=1e-6)
    assert 0.0 <= row["win_rate"] <= 1.0


def test_an_agent_that_tells_its_probabilities_is_judged_exactly():
    # Three tokens of equal probability, EOS one of them.
    row = execute(make_run(agent="tests.studies.own_agents:Telling", gae_lambda=None)).row
    assert "objective_episodes" not in row
    assert row["j_ratio"] == pytest.approx(row["objective"] / 1.125295, abs=1e-6)


def test_the_estimate_is_the_score_less_the_penalty():
    truth = ExactCurve.of(load_task("toy15"), 0.5, updates=1)
    found = truth.estimate({"score": 1.0, "kl": 0.5}, 8)
    assert found["objective"] == 0.75
    assert found["objective_episodes"] == 8
