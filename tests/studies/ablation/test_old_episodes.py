"""Old episodes and stale samplers as axes of a grid."""

from __future__ import annotations

from pathlib import Path

import pytest

from agents.settings import BUILT_IN_AGENTS
from studies.ablation.batched.plan import plan_batches
from studies.ablation.batched.reasons import why_alone
from studies.ablation.execute import execute
from studies.ablation.missing_runs import command
from studies.experiment.agent_names import takes_replay
from studies.experiment.axes import Axes
from studies.experiment.grid import Budget, RunSettings, grid
from tests.studies.toy_grids import ablate, rows

BUDGET = Budget(updates=3, episodes_per_update=8, eval_episodes=8)
AXES = Axes(
    agent=("grpo", "tbrm", "dpo"),
    gamma=(1.0,),
    density=("terminal",),
    granularity=("token",),
    importance=("sequence",),
    staleness=(0, 4),
    replay_ratio=(0.0, 2.0, 8.0),
    seeds=1,
)


def test_every_combination_that_makes_sense_is_run_once() -> None:
    runs = grid(AXES, BUDGET)
    found = [(r.agent, r.importance, r.staleness, r.replay_ratio) for r in runs]
    pairs = [(delay, ratio) for delay in (0, 4) for ratio in (0.0, 2.0, 8.0)]
    assert found == [
        *(("grpo", "sequence", *pair) for pair in pairs),
        *(("tbrm", None, *pair) for pair in pairs),
        ("dpo", None, None, None),
    ]
    names = [run.run_id for run in runs]
    assert len(set(names)) == len(names)
    assert names[5] == "grpo-g1-terminal-token-n4-sequence-d4-r8-s0"
    assert names[-1] == "dpo-g1-terminal-token-n4-s0"


def test_a_run_comes_back_from_its_record_and_from_its_command() -> None:
    for run in grid(AXES, BUDGET):
        assert RunSettings.from_json(run.to_json()) == run
    run = grid(AXES, BUDGET)[5]
    words = command(run, Path("runs"), 1)
    assert "--importance sequence --staleness 4 --replay-ratio 8.0" in words
    plain = grid(Axes(agent=("ppo",)), BUDGET)[0]
    assert not {"importance", "staleness", "replay_ratio"} & plain.to_json().keys()


def test_runs_with_old_episodes_are_trained_alone() -> None:
    runs = grid(AXES, BUDGET)[:6] * 2
    reasons = {run.replay_ratio: why_alone(run) for run in runs if run.staleness == 0}
    assert reasons == {
        0.0: "importance is 'sequence'",
        2.0: "it learns from old episodes too",
        8.0: "it learns from old episodes too",
    }
    plan = plan_batches(runs, 1, why_alone)
    assert all(len(batch.runs) == 1 for batch in plan.batches)


@pytest.mark.parametrize("ratio", [0.0, 2.0])
def test_a_run_learns_from_as_many_as_it_says(ratio: float) -> None:
    run = next(one for one in grid(AXES, BUDGET) if (one.staleness, one.replay_ratio) == (4, ratio))
    curve = execute(run).curve
    assert [point["sampler_age"] for point in curve] == [0, 1, 2]
    old = [point.get("replay_fraction") for point in curve]
    assert old == ([None] * 3 if ratio == 0 else pytest.approx([0, 1 / 2, 2 / 3]))


def test_the_table_has_a_column_of_each(tmp_path: Path) -> None:
    words = ["--agent", "grpo", "--gamma", "1", "--importance", "token", "--staleness", "0", "2"]
    assert ablate(tmp_path, *words, "--replay-ratio", "0", "8", "--seeds", "1", "--report") == 0
    found = {(row["staleness"], row["replay_ratio"]) for row in rows(tmp_path)}
    assert found == {(delay, ratio) for delay in ("0", "2") for ratio in ("0.0", "8.0")}
    assert "replay" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--agent", "grpo", "--replay-ratio", "0", "8"], "got 8 for grpo without a correction"),
        (["--agent", "dpo", "--replay-ratio", "8"], "may learn from old episodes, got 8 for dpo"),
        (["--agent", "dpo", "--staleness", "4"], "must be a setting of one of the agents"),
        (["--agent", "grpo", "--importance", "some"], "importance must be"),
        (["--agent", "grpo", "--replay-ratio", "-1"], "replay_ratio must be"),
        (["--agent", "grpo", "--staleness", "2", "2"], "must not repeat a value"),
    ],
)
def test_a_grid_that_cannot_be_run_is_refused(
    words: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ablate(tmp_path / "out", *words) == 2
    assert sentence in capsys.readouterr().err


def test_which_agents_take_old_episodes() -> None:
    taking = {name for name in BUILT_IN_AGENTS if takes_replay(name)}
    assert {"ppo", "grpo", "rloo", "reinforce", "trpo", "tbrm", "pcl"} <= taking
    assert not {"dpo", "kto", "best_of_n"} & taking
