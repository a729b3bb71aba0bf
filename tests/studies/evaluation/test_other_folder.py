"""A run may be evaluated from another folder than the one in which it was begun."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from studies.cli.commands.compare import main as compare
from studies.cli.commands.evaluate import main as evaluate
from studies.cli.commands.train import main as train
from tests.studies.saved_agents import MODEL, QUICK, write_model


def test_relative_paths_begin_where_the_run_was_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, other = tmp_path / "begun", tmp_path / "other"
    begun.mkdir(), other.mkdir()
    write_model(begun)
    monkeypatch.chdir(begun)
    words = [*MODEL, "--reward", "my_reward.py:longest", *QUICK]
    assert train([*words, "--out", "run"]) == 0
    assert json.loads((begun / "run" / "settings.json").read_text())["working_folder"] == str(begun)

    monkeypatch.chdir(other)
    run = str(Path("..") / "begun" / "run")
    asked = ["--episodes", "4", "--samples", "0", "--trust"]
    assert evaluate([run, *asked, "--out", "evaluation"]) == 0
    assert compare([run, run, *asked, "--out", "comparison"]) == 0

    # The working folder is no part of what makes the run this run.
    for path in begun.iterdir():
        path.rename(other / path.name)
    assert train([*words, "--out", "run"]) == 0
