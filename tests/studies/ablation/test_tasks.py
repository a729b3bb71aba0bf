"""Grids on several tasks and on models of one's own, and their curves for TensorBoard."""

from __future__ import annotations

from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from studies.ablation.execute import execute
from studies.results.csv_files import read_csv
from tests.studies.saved_agents import MODEL, write_model
from tests.studies.toy_grids import ablate, rows

TINY = ["--agent", "grpo", "--gamma", "1.0", "--seeds", "1", "--updates", "1"]
TINY += ["--episodes-per-update", "4", "--eval-episodes", "4"]


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_model(tmp_path)
    return tmp_path


def test_a_model_of_ones_own_beside_a_built_in_task(files: Path):
    words = [*TINY, *MODEL, "--reward", "my_reward.py:longest", "--task", "toy15"]
    assert ablate(files / "out", *words, runner=execute) == 0
    found = rows(files / "out")
    assert [row["task"] for row in found] == ["toy15", "model"]
    assert [row["status"] for row in found] == ["ok", "ok"]
    assert found[0]["j_ratio"] != "" and found[1]["j_ratio"] == ""
    assert set(read_csv(files / "out" / "frontier.csv")["task"]) == {"toy15"}
    assert "--model model --prompts" not in found[0]["command"]
    for words in ("--model model", "--prompts prompts.txt", "--reward my_reward.py:longest"):
        assert words in found[1]["command"]


def test_prompts_that_changed_are_another_grid(files: Path, capsys: pytest.CaptureFixture):
    words = [*TINY, *MODEL, "--ratings", "rows.jsonl"]
    assert ablate(files / "out", *words) == 0
    with Path("prompts.txt").open("a") as file:
        file.write("\nw9")
    capsys.readouterr()
    assert ablate(files / "out", *words) == 2
    assert "with another: digests is" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--reward", "my_reward.py:longst"], "did you mean 'longest'"),
        (["--ratings", "none.jsonl"], "--ratings must be an existing file"),
        ([], "--model needs one of --ratings and --reward, got none"),
    ],
)
def test_what_no_model_can_be_judged_by_makes_no_folder(
    files: Path, capsys: pytest.CaptureFixture, words: list[str], message: str
):
    assert ablate(files / "out", *TINY, *MODEL, *words) == 2
    assert message in capsys.readouterr().err
    assert not (files / "out").exists()


def test_tensorboard_reads_every_curve(tmp_path: Path):
    assert ablate(tmp_path / "out") == 0
    folders = sorted((tmp_path / "out" / "tensorboard").iterdir())
    assert [folder.name for folder in folders] == sorted(
        row["run_id"] for row in rows(tmp_path / "out")
    )
    read = EventAccumulator(str(folders[0])).Reload()
    assert read.Tags()["scalars"] == ["score", "kl", "entropy", "response_length"]
    found = [(event.step, event.value) for event in read.Scalars("response_length")]
    assert found == [(1, 2.0), (2, 2.5)]
    assert ablate(tmp_path / "without", "--no-tensorboard") == 0
    assert not (tmp_path / "without" / "tensorboard").exists()
