"""What scripts/train_reward.py writes is the --reward of the other commands."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rlhf_env.rewards.bradley_terry import ScalarRewardModel
from rlhf_env.rewards.training.trained import TrainedReward
from studies.ablation.execute import execute
from studies.cli.commands.evaluate import main as evaluate
from studies.cli.commands.train import main as train
from tests.studies.saved_agents import MODEL, QUICK, write_model
from tests.studies.toy_grids import ablate, rows
from tests.toys import tiny_llama, tiny_tokenizer


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_model(tmp_path)
    reward = ScalarRewardModel(tiny_llama(seed=3).model)
    TrainedReward(reward, tiny_tokenizer(), max_tokens=68).save(tmp_path / "rm")
    return tmp_path


def test_a_policy_is_trained_and_evaluated_on_a_trained_reward(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*MODEL, "--reward", "rm", *QUICK, "--out", "run"]
    assert train(words) == 0
    settings = json.loads((here / "run" / "settings.json").read_text())
    assert set(settings["digests"]) == {"prompts", "reward"}
    # It is data and no code, so nothing has to be trusted.
    assert evaluate(["run", "--episodes", "4", "--samples", "0"]) == 0

    header = here / "rm" / "reward.json"
    header.write_text(header.read_text() + "\n")
    assert train(words) == 2
    assert "with another: digests is" in capsys.readouterr().err
    assert evaluate(["run", "--episodes", "4", "--samples", "0"]) == 2
    assert "--reward must be as it was" in capsys.readouterr().err


def test_a_grid_takes_a_trained_reward(here: Path) -> None:
    tiny = ["--agent", "grpo", "--gamma", "1.0", "--seeds", "1", "--updates", "1"]
    tiny += ["--episodes-per-update", "4", "--eval-episodes", "4"]
    assert ablate(here / "out", *tiny, *MODEL, "--reward", "rm", runner=execute) == 0
    assert [row["status"] for row in rows(here / "out")] == ["ok"]
    assert "--reward rm" in rows(here / "out")[0]["command"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--reward", "none"], "a folder that scripts/train_reward.py wrote, got 'none'"),
        (["--reward", "model"], "got 'model', which is a folder without reward.json"),
        (["--reward", "rm", "--max-prompt-tokens", "65"], "must be made for 69 tokens"),
    ],
)
def test_what_is_no_reward_is_refused(
    here: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert train([*MODEL, *words, *QUICK, "--out", "run"]) == 2
    assert message in capsys.readouterr().err
    assert not (here / "run").exists()
