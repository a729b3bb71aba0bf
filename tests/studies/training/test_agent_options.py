"""Options of scripts/train.py that are settings of the agent."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from studies.cli.commands.train import main as train
from studies.experiment.build import make_agent, make_envs, make_task
from studies.experiment.task.spec import Problem
from studies.training.settings import Learning, Settings
from tests.studies.saved_agents import QUICK, train_on_toy15


def test_the_options_reach_the_agent_and_the_record(tmp_path: Path) -> None:
    words = ["--epochs", "2", "--minibatches", "1", "--clip-range", "0.1", "--temperature", "0.9"]
    out = train_on_toy15(tmp_path / "run", *words, "--device", "cpu")
    state = json.loads(next((out / "checkpoints").glob("*/state.json")).read_text())
    asked = {"epochs": 2, "minibatches": 1, "clip_range": 0.1, "temperature": 0.9}
    assert asked.items() <= state["config"].items()
    again = ["--task", "toy15", *QUICK, *words, "--out", str(out)]
    assert train(again) == 0
    assert train([*again, "--epochs", "3"]) == 2


def test_settings_without_an_option_of_their_own_are_set_by_name(tmp_path: Path) -> None:
    words = ["--set", "critic_warmup_updates=1", "dual_clip=3,critic_learning_rate=1e-3"]
    out = train_on_toy15(tmp_path / "run", *words)
    state = json.loads(next((out / "checkpoints").glob("*/state.json")).read_text())
    asked = {"critic_warmup_updates": 1, "dual_clip": 3.0, "critic_learning_rate": 1e-3}
    assert asked.items() <= state["config"].items()
    again = ["--task", "toy15", *QUICK, "--out", str(out)]
    assert train([*again, *words]) == 0
    assert train([*again, *words, "whiten_advantages=false"]) == 2
    assert train(again) == 2
    fields = json.loads((out / "settings.json").read_text())
    assert Settings.from_json(fields, out).learning.set == tuple(words[1:])


def test_a_preset_of_the_agent_holds_where_nothing_is_given() -> None:
    settings = Settings(
        problem=Problem(task="toy15"), learning=Learning(agent="reinforce_none", epochs=2)
    )
    envs = make_envs(settings.run, make_task("toy15"), "cpu")
    agent = make_agent(settings.run, envs, settings.learning.agent_options)
    assert (agent.config.baseline, agent.config.epochs) == ("none", 2)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--agent", "reinforce", "--clip-range", "0.1"], "--clip-range is not a setting of rein"),
        (["--temperature", "-1"], "--temperature must be"),
        (["--precision", "fp8"], "--precision must be"),
        (["--lora-rank", "0"], "--lora-rank must be"),
        (["--lora-alpha", "8"], "--lora-alpha goes with --lora-rank"),
        (["--minibatches", "3"], "--episodes-per-update must be a multiple of 3"),
        (["--agent", "trpo", "--precision", "bf16"], "use 'fp32'"),
        (["--device", "moon"], "device must be"),
        (["--set", "stalenes=1"], "--set must name settings of ppo, got 'stalenes'; did you mean"),
        (["--set", "staleness=-1"], "staleness must be an integer >= 0, got -1"),
        (["--set", "epochs=2"], "--set must leave out epochs, which has an option of its own"),
        (["--set", "gamma=0.9"], "use --gamma"),
    ],
)
def test_what_an_agent_lacks_or_cannot_use_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert train(["--task", "toy15", *QUICK, *words, "--out", str(tmp_path / "run")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
