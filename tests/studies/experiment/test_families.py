"""Families of tasks in a grid: horizons as an axis, options, and what is refused."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from studies.ablation.folder import grid_settings
from studies.ablation.missing_runs import command
from studies.experiment.axes import Axes
from studies.experiment.build import check_family_tasks, learning_rate, run_task
from studies.experiment.checks import check_grid, known_horizon
from studies.experiment.grid import Budget, RunSettings, grid, task_budgets
from studies.experiment.task.family import FamilyOptions
from tests.studies.experiment.test_grid import make_run

ONE = {"agent": ("grpo",), "gamma": (1.0,), "density": ("terminal",), "granularity": ("token",)}


def families(**more: object) -> Axes:
    fields = {**ONE, "task": ("delay", "needles"), "horizon": (8, 32), "seeds": 1, **more}
    return Axes(**fields)  # type: ignore[arg-type]


def test_each_family_is_run_at_each_horizon():
    runs = grid(families(), Budget())
    assert [run.task_name for run in runs] == ["delay-8", "delay-32", "needles-8", "needles-32"]
    assert [run.family_and_horizon for run in runs[1:3]] == [("delay", 32), ("needles", 8)]
    assert runs[1].run_id == "delay-32-timed_table-grpo-g1-terminal-token-n4-s0"
    assert run_task(runs[1]).max_new_tokens == 32
    assert len({run.run_id for run in runs}) == 4


def test_with_horizons_policies_may_depend_on_the_time_unless_another_is_named():
    assert {own.family_options.policy for own in task_budgets(families(), Budget())} == {
        "timed_table"
    }
    asked = Budget(family_options=FamilyOptions(policy="transformer"))
    runs = grid(families(), asked)
    assert {run.budget.family_options.policy for run in runs} == {"transformer"}
    assert run_task(runs[0]).reference.config.policy == "transformer"  # type: ignore[union-attr]
    # A task that is named with its horizon is what `load_task` returns, as before.
    (alone,) = grid(Axes(**{**ONE, "task": ("delay-8",), "seeds": 1}), Budget())  # type: ignore[arg-type]
    assert alone.run_id == "delay-8-grpo-g1-terminal-token-n4-s0"
    assert run_task(alone).reference.config.policy == "table"  # type: ignore[union-attr]


def test_tables_learn_with_larger_steps_than_transformers():
    rates = {}
    for policy in ("table", "timed_table", "transformer"):
        options = FamilyOptions(policy=policy)
        rates[policy] = learning_rate(grid(families(), Budget(family_options=options))[0])
    assert rates == {"table": 0.05, "timed_table": 0.05, "transformer": None}


def test_a_family_takes_the_options_that_it_has():
    options = FamilyOptions(task_options=("needles=2", "vocab_size=5", "eos_logit=-3.5"))
    delay, _, needles, _ = grid(families(), Budget(family_options=options))
    assert (run_task(delay).vocab_size, run_task(needles).vocab_size) == (5, 5)
    assert options.of("delay") == {"vocab_size": 5, "eos_logit": -3.5}
    assert options.of("needles") == {"needles": 2, "vocab_size": 5, "eos_logit": -3.5}
    assert delay.run_id != grid(families(), Budget())[0].run_id


def test_the_horizon_of_a_family_is_known_before_it_is_built():
    assert known_horizon(Budget(task="delay-64")) == 64
    with pytest.raises(ValueError, match="at most the task's 8 tokens, got every_9"):
        check_grid(families(density=("every_9",)), Budget())


@pytest.mark.parametrize(
    ("axes", "budget", "message"),
    [
        ({"task": ("delay", "toy15")}, {}, "horizon goes with .*'toy15', which has no horizon"),
        ({"task": ()}, {}, "horizon goes with .*'toy15'"),
        ({"task": ("dealy",)}, {}, "'dealy'.*did you mean 'delay'"),
        ({"task": ("delay-8",)}, {}, "got 'delay-8', which has one already; write delay"),
        ({"task": ("delay",), "horizon": ()}, {}, "'delay' is a family and needs a horizon"),
        ({"horizon": (8, 8)}, {}, "horizon must not repeat a value, got 8"),
        ({"horizon": (0,)}, {}, "horizon must be a whole number of at least 1, got 0"),
        ({"horizon": (2048,)}, {}, "horizon must be a whole number of at most 1024, got 2048"),
        ({}, {"policy": "tables"}, "policy must be one of table, timed_table, transformer"),
        ({}, {"task_options": ("needles",)}, "must be given as name=number.*got 'needles'"),
        ({}, {"task_options": ("needles=many",)}, "must be given as name=number"),
        ({}, {"task_options": ("needles=nan",)}, "must be given as name=number"),
        ({}, {"task_options": ("kl_coef=1",)}, "does not set kl_coef, .*; use --kl-coef"),
        ({}, {"task_options": ("needles=2", "needles=3")}, "must not repeat an option"),
        ({"task": ("toy15",), "horizon": ()}, {"policy": "table"}, "policy goes with .*'toy15'"),
        (
            {"task": ("toy15",), "horizon": ()},
            {"task_options": ("needles=2",)},
            "task_options goes with .*'toy15'",
        ),
    ],
)
def test_what_cannot_be_a_grid_of_families_is_refused(axes: dict, budget: dict, message: str):
    with pytest.raises(ValueError, match=message):
        check_grid(families(**axes), Budget(family_options=FamilyOptions(**budget)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("depth=2",), "options of a family of the grid, got 'depth=2', but delay has vocab_size"),
        (("needles=9",), "'needles-8' cannot be made: needles must be at most 7"),
        (("vocab_size=2.5",), "'delay-8' cannot be made: vocab_size must be an integer"),
    ],
)
def test_options_that_do_not_fit_are_refused_before_a_run(options: tuple, message: str):
    budget = Budget(family_options=FamilyOptions(task_options=options))
    with pytest.raises(ValueError, match=message):
        check_family_tasks(task_budgets(families(), budget))


def test_the_command_of_a_run_repeats_its_options():
    options = FamilyOptions(policy="table", task_options=("needles=2", "vocab_size=5"))
    run = grid(families(), Budget(family_options=options))[-1]
    words = shlex.split(command(run, Path("runs/mine"), 1))
    assert words[words.index("--task") + 1] == "needles-32"
    assert words[words.index("--policy") + 1] == "table"
    begin = words.index("--task-options") + 1
    assert words[begin : begin + 2] == ["needles=2", "vocab_size=5"]


def test_settings_of_families_survive_json():
    options = FamilyOptions(policy="table", task_options=("needles=2",))
    run = grid(families(), Budget(family_options=options))[0]
    assert RunSettings.from_json(json.loads(json.dumps(run.to_json()))) == run


def test_grids_of_other_tasks_are_what_they_were():
    # As the version before families wrote them.
    assert (
        make_run(agent="my.module:Class").run_id
        == "my.module_Class-g0.99-every_8-macro_4-l0.95-s3-0fe452e2"
    )
    assert "family_options" not in make_run().to_json()["budget"]
    written = grid_settings(Axes(), Budget(), {})
    assert not {"horizon", "policy", "task_options", "family_options"} & written.keys()
    assert written["format"] == 2
    of_families = grid_settings(families(), Budget(), {})
    assert (of_families["horizon"], of_families["policy"]) == ([8, 32], "timed_table")
