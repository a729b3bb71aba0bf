"""A folder may come from anybody: the code that its settings name is not run because they do."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from studies.cli.commands.compare import main as compare
from studies.cli.commands.evaluate import main as evaluate
from studies.cli.commands.train import main as train
from tests.studies.saved_agents import MODEL, QUICK, train_on_toy15, write_model

ASKED = ["--episodes", "4", "--samples", "0"]
# Importing it leaves a trace.
CODE = """
from pathlib import Path
from rlhf_env import load_task
Path("imported").touch()
def task():
    return load_task("toy15")
def longest(prompts, responses):
    return [float(len(text)) for text in responses]
"""


@pytest.fixture(scope="module")
def built_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_on_toy15(tmp_path_factory.mktemp("trust") / "run")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_a_task_that_only_the_folder_names_is_not_imported(
    built_in: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Path(shutil.copytree(built_in, here / "run"))
    (here / "sent_task.py").write_text(CODE)
    settings = json.loads((run / "settings.json").read_text())
    (run / "settings.json").write_text(json.dumps(settings | {"task": "sent_task:task"}))
    for command in (evaluate, lambda words: compare([words[0], *words])):
        assert command([str(run), *ASKED]) == 2
        error = capsys.readouterr().err
        assert "names code to run, 'sent_task:task'" in error and "or --trust" in error
    assert not (here / "imported").exists()
    assert evaluate([str(run), *ASKED, "--trust"]) == 0
    assert (here / "imported").exists()


def test_a_reward_that_only_the_folder_names_is_not_imported(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_model(here)
    reward = here / "sent_reward.py"
    reward.write_text(CODE)
    given = ["--reward", "sent_reward.py:longest"]
    assert train([*MODEL, *given, *QUICK, "--out", "run"]) == 0
    (here / "imported").unlink()
    assert evaluate(["run", *ASKED]) == 2
    assert "names code to run, 'sent_reward.py:longest'" in capsys.readouterr().err
    assert evaluate(["run", *ASKED, "--reward", "other.py:longest"]) == 2
    assert "--reward must be the one of run" in capsys.readouterr().err

    reward.write_text(CODE + "# changed\n")
    assert evaluate(["run", *ASKED, *given]) == 2
    assert "--reward must be as it was when run was trained" in capsys.readouterr().err
    assert not (here / "imported").exists()

    reward.write_text(CODE)
    assert evaluate(["run", *ASKED, *given]) == 0
    assert (here / "imported").exists()
