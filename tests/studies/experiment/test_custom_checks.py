"""What no run can be made of is one sentence of each command, and no folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from rlhf_env.rewards.text_regression import TextRegressionReward
from studies.ablation.execute import execute
from studies.cli.commands.rounds import main as rounds
from studies.cli.commands.train import main as train
from studies.feedback_rounds.settings import Settings as RoundSettings
from tests.studies.saved_agents import MODEL, QUICK, train_on_toy15, write_model
from tests.studies.toy_grids import ablate, contents, rows

REWARD = ["--reward", "my_reward.py:longest"]
TINY = ["--agent", "grpo", "--gamma", "1.0", "--seeds", "1", "--updates", "1"]
TINY += ["--episodes-per-update", "4", "--eval-episodes", "4"]


def run_train(*words: str) -> int:
    return train([*QUICK, "--out", "out", *words])


def run_ablate(*words: str) -> int:
    return ablate(Path("out"), *TINY, *words)


COMMANDS = pytest.mark.parametrize("command", [run_train, run_ablate], ids=["train", "ablate"])


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a model, prompts and a reward, good ones and bad ones."""
    monkeypatch.chdir(tmp_path)
    write_model(tmp_path)
    (tmp_path / "bare").mkdir()
    shutil.copy("model/config.json", "bare")
    shutil.copytree("model", "cut")
    weights = tmp_path / "cut/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:4000])
    (tmp_path / "bad.py").write_text(
        "def broken(prompts, responses):\n"
        "    raise ValueError('oh')\n"
        "def one_short(prompts, responses):\n"
        "    return [0.0] * (len(responses) - 1)\n"
        "def of_two_only(prompts, responses):\n"
        "    a, b = responses\n"
        "    return [0.0, 0.0]\n"
    )
    return tmp_path


CASES = [
    (
        ["--model", "bare", *MODEL[2:], *REWARD],
        "--model: language model 'bare' has no safetensors weights, and no other format is read; "
        "convert it with model.save_pretrained() in a process that trusts it",
    ),
    (
        [*MODEL[:-1], "100000", *REWARD],
        "--max-prompt-tokens + --max-new-tokens must be at most the model's context window of 128, "
        "got 100064 in all; lower one of them",
    ),
    (
        [*MODEL, "--reward", "bad.py:broken"],
        "--reward must give a reward that can judge any response, got ValueError: oh; correct the "
        "function",
    ),
    (
        [*MODEL, "--reward", "bad.py:one_short"],
        "--reward must give a reward that can judge any response, got ValueError: reward one_short "
        "must return 2 finite numbers, got shape [1]; correct the function",
    ),
]


@COMMANDS
@pytest.mark.parametrize(
    ("words", "sentence"), CASES, ids=["no weights", "too long", "raises", "too few scores"]
)
def test_what_fails_every_run_is_refused_before_anything_is_made(
    files: Path,
    capsys: pytest.CaptureFixture,
    command: Callable[..., int],
    words: list[str],
    sentence: str,
):
    assert command(*words) == 2
    shown = capsys.readouterr()
    assert shown.err.partition(": ")[2] == f"{sentence}\n"
    assert shown.out == ""
    assert not (files / "out").exists()


@COMMANDS
def test_a_model_that_is_nowhere_is_refused_at_once(
    files: Path,
    capsys: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    command: Callable[..., int],
):
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert command("--model", "missing", *MODEL[2:], *REWARD) == 2
    assert capsys.readouterr().err.partition(": ")[2] == (
        "--model: cannot load the language model 'missing': no local folder of that name, the "
        "Hub cannot be reached, and the cache does not hold it\n"
    )
    assert not (files / "out").exists()


@COMMANDS
@pytest.mark.parametrize("model", ["bare", "cut"])
def test_the_model_is_looked_at_before_a_reward_is_learned(
    files: Path,
    capsys: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    command: Callable[..., int],
    model: str,
):
    monkeypatch.setattr(TextRegressionReward, "fit", lambda *_: pytest.fail("it was learned"))
    assert command("--model", model, *MODEL[2:], "--ratings", "rows.jsonl") == 2
    shown = capsys.readouterr()
    assert shown.out == "" and len(shown.err.splitlines()) == 1
    assert "--model: " in shown.err and f"language model '{model}'" in shown.err


def test_a_run_that_fails_later_is_a_row_of_its_grid(files: Path):
    words = [*TINY, *MODEL, "--reward", "bad.py:of_two_only", "--task", "toy15"]
    assert ablate(files / "out", *words, runner=execute) == 1
    assert [row["status"] for row in rows(files / "out")] == ["ok", "failed"]


def test_a_density_is_refused_with_its_values_as_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture
):
    assert train(["--task", "toy15", "--density", "every_x", "--out", str(tmp_path / "o")]) == 2
    assert capsys.readouterr().err == (
        "train: --density must be one of terminal, every_k, prefix_difference, potential, "
        "implicit, process, process_potential, process_raw, got 'every_x'; write every_ and a "
        "number, such as every_8\n"
    )


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ["--task", "toy15", "--density", "every_k", "--every-k", "50"],
            "--density must be of at most the task's 3 tokens, got every_k with 50; for the whole "
            "response write terminal",
        ),
        (
            ["--task", "toy15", "--granularity", "macro_4"],
            "--granularity must be of at most the task's 3 tokens, got macro_4 with 4; for the "
            "whole response write bandit",
        ),
        (
            [*MODEL, *REWARD, "--density", "every_5"],
            "--density must be of at most the task's 4 tokens, got every_5 with 5; for the whole "
            "response write terminal",
        ),
        (
            ["--task", "rlhf_env.tasks.toy15:toy15_task", "--density", "every_k", "--every-k", "8"],
            "--density must be of at most the task's 3 tokens, got every_k with 8; for the whole "
            "response write terminal",
        ),
    ],
    ids=["density", "granularity", "own model", "own task"],
)
def test_more_tokens_than_a_response_has_are_refused(
    files: Path, capsys: pytest.CaptureFixture, words: list[str], sentence: str
):
    assert run_train(*words) == 2
    assert capsys.readouterr().err == f"train: {sentence}\n"
    assert not (files / "out").exists()


def test_the_folder_of_another_command_is_refused_by_its_name(
    tmp_path: Path, capsys: pytest.CaptureFixture
):
    trained, grid = train_on_toy15(tmp_path / "trained"), tmp_path / "grid"
    assert ablate(grid) == 0
    labeled = tmp_path / "labeled"
    labeled.mkdir()
    (labeled / "settings.json").write_text(json.dumps(RoundSettings().to_json()))
    before = contents(tmp_path)
    capsys.readouterr()
    refused = {
        f"ablate: out must be empty or hold a run of scripts/ablate.py, got {trained} with one of "
        "scripts/train.py; choose another --out\n": lambda: ablate(trained),
        f"train: --out must be empty or hold a run of scripts/train.py, got {grid} with one of "
        "scripts/ablate.py; choose another --out\n": lambda: train(["--out", str(grid)]),
        f"train: --out must be empty or hold a run of scripts/train.py, got {labeled} with one of "
        "scripts/rounds.py; choose another --out\n": lambda: train(["--out", str(labeled)]),
        f"rounds: --out must be empty or hold a run of scripts/rounds.py, got {grid} with one of "
        "scripts/ablate.py; choose another --out\n": lambda: rounds(["--out", str(grid)]),
    }
    for sentence, command in refused.items():
        assert command() == 2
        assert capsys.readouterr().err == sentence
    assert contents(tmp_path) == before
