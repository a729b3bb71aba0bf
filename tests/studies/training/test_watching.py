"""What training does after every update besides learning."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from agents.callbacks import best_checkpoint
from studies.cli.commands.train import main as train
from studies.experiment.task.spec import Problem
from studies.training.settings import Learning, Settings
from studies.training.watching import callback_of
from tests.studies.saved_agents import QUICK, train_on_toy15


def test_the_best_checkpoint_is_kept_and_the_run_is_the_same(tmp_path: Path) -> None:
    plain = train_on_toy15(tmp_path / "plain")
    out = train_on_toy15(tmp_path / "run", "--keep-best", "j_ratio", "--early-warning")
    record = json.loads((out / "best" / "best.json").read_text())
    assert record["settings"]["metric"] == "j_ratio"
    assert record["settings"]["episodes"] == 8
    assert best_checkpoint(out / "best").is_dir()
    evaluations = [json.loads((folder / "evaluation.json").read_text()) for folder in (plain, out)]
    assert evaluations[0] == evaluations[1]
    # How a run is watched does not make it another run.
    assert train(["--task", "toy15", *QUICK, "--out", str(out)]) == 0


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ("nothing", "--keep-best must be a figure of evaluations, got 'nothing'; there are score,"),
        ("goldd", "got 'goldd'; did you mean 'gold'?"),
        ("pass_at_3", "got 'pass_at_3'; did you mean 'pass_at_"),
        ("held_out_accuracy", "got 'held_out_accuracy'; there are score"),
    ],
)
def test_a_figure_that_no_task_has_is_refused_before_anything(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], metric: str, message: str
) -> None:
    out = tmp_path / "run"
    assert train(["--task", "toy15", *QUICK, "--keep-best", metric, "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not out.exists()


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ("gold", "figure of this run's evaluations, got 'gold', which needs a task with a gold"),
        ("disagreement", "figure of this run's evaluations, got 'disagreement'; there are "),
    ],
)
def test_a_figure_that_the_task_lacks_is_refused_before_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], metric: str, message: str
) -> None:
    out = tmp_path / "run"
    assert train(["--task", "toy15", *QUICK, "--keep-best", metric, "--out", str(out)]) != 0
    assert message in capsys.readouterr().err
    assert not (out / "checkpoints").exists()


def test_a_run_that_goes_on_is_judged_from_its_beginning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [{"update": update, "entropy": 2.0 + update % 2 / 100} for update in range(1, 7)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = Settings(
        problem=Problem(task="toy15"), learning=Learning(), out=tmp_path, early_warning=True
    )
    callback = callback_of(settings, None, {}, 10)
    assert callback is not None
    with caplog.at_level(logging.WARNING, "agents"):
        for update in (7, 8, 9):
            callback(None, {"update": update, "entropy": 0.2})
    (warning,) = caplog.messages
    assert "the entropy has gone from" in warning


def test_nothing_is_called_where_nothing_was_asked_for(tmp_path: Path) -> None:
    settings = Settings(problem=Problem(task="toy15"), learning=Learning(), out=tmp_path)
    assert callback_of(settings, None, {}, 10) is None


def test_an_agent_that_cannot_be_evaluated_has_no_best(tmp_path: Path) -> None:
    settings = Settings(
        problem=Problem(task="toy15"), learning=Learning(), out=tmp_path, keep_best="score"
    )
    with pytest.raises(ValueError, match="--keep-best must be left out for ppo"):
        callback_of(settings, object(), {"score": 1.0}, 10)
