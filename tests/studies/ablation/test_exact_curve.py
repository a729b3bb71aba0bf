from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest

from rlhf_env import load_task
from studies.ablation.exact_curve import ExactCurve
from studies.ablation.execute import execute
from studies.experiment.grid import Budget, RunSettings
from studies.experiment.task.family import FamilyOptions
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


def family_run(policy: str, **changes: Any) -> RunSettings:
    budget = Budget(
        task="delay-32",
        updates=3,
        episodes_per_update=8,
        eval_episodes=8,
        family_options=FamilyOptions(policy=policy),
    )
    return make_run(budget=budget, agent="grpo", gae_lambda=None, group_size=4, **changes)


def test_a_table_is_judged_exactly_after_every_update():
    result = execute(family_run("timed_table"))
    # J* of delay at T = 32; the reference finds token 1 at one of 7 + e^-4 tokens.
    assert result.row["optimum"] == pytest.approx(0.902574, abs=1e-6)
    assert result.row["reference_objective"] == pytest.approx(1 / (7 + math.exp(-4)), abs=1e-6)
    assert "objective_episodes" not in result.row
    for point in [*result.curve, result.row]:
        assert point["objective"] + point["regret"] == pytest.approx(0.902574, abs=1e-6)
        whole = 0.902574 - 1 / (7 + math.exp(-4))
        assert point["gained"] == pytest.approx(1 - point["regret"] / whole, abs=1e-5)
    assert result.curve[-1]["objective"] == result.row["objective"]


def test_a_transformer_is_judged_by_its_regret_on_episodes():
    result = execute(family_run("transformer"))
    assert result.row["objective_episodes"] == 8
    assert result.row["regret"] >= 0
    assert result.row["objective"] == pytest.approx(0.902574 - result.row["regret"], abs=1e-6)
    assert all(point["regret"] > 0 for point in result.curve)


@pytest.mark.parametrize("policy", ["timed_table", "transformer"])
def test_what_is_measured_does_not_change_what_is_learned(
    policy: str, monkeypatch: pytest.MonkeyPatch
):
    measured = execute(family_run(policy)).curve
    monkeypatch.setattr(ExactCurve, "record", lambda self, agent, metrics: None)
    alone = execute(family_run(policy)).curve
    learned = alone[0].keys() - {"tokens_per_second"}
    assert "regret" in measured[0] and "regret" not in alone[0]
    assert [{k: p[k] for k in learned} for p in measured] == [
        {k: p[k] for k in learned} for p in alone
    ]


def test_the_best_of_n_of_a_long_task_has_no_objective():
    run = dataclasses.replace(family_run("table"), agent="best_of_n", group_size=None)
    row = execute(run).row
    assert "objective" not in row and row["optimum"] == pytest.approx(0.902574, abs=1e-6)
