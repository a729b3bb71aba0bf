"""`scripts/train.py --agent module:Class`: trained, gone on with, evaluated and compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from studies.cli.commands.compare import main as compare
from studies.cli.commands.evaluate import main as evaluate
from studies.cli.commands.train import main as train
from tests.studies.saved_agents import QUICK, train_on_toy15

HERE = "tests.studies.own_agents:"


def words(agent: str, out: Path, *more: str) -> list[str]:
    return ["--task", "toy15", "--agent", HERE + agent, *QUICK, "--out", str(out), *more]


def read(out: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / name).read_text().splitlines()]


def log(out: Path) -> list[dict[str, Any]]:
    return [
        {name: value for name, value in row.items() if name != "tokens_per_second"}
        for row in read(out, "metrics.jsonl")
    ]


def test_an_agent_that_only_acts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    assert train(words("Uniform", out)) == 0
    assert "wins against the reference" in capsys.readouterr().out
    found = json.loads((out / "evaluation.json").read_text())
    for stage in ("before", "after"):
        assert 0.0 < found[stage]["response_length"] <= 3.0
        assert found[stage]["return"] != found[stage]["score"]
    assert [row["stage"] for row in read(out, "samples.jsonl")] == ["before", "after"]
    assert len(log(out)) == 2
    assert train(words("Uniform", out)) == 0
    assert train(words("Uniform", out, "--episodes", "32")) == 1
    assert "Uniform has no updates, save and restore to go on" in capsys.readouterr().err
    assert evaluate([str(out)]) == 2
    said = capsys.readouterr().err
    assert "without manifest.json or checkpoints; what an agent that is not saved reached" in said


def test_acting_before_training_changes_nothing(tmp_path: Path) -> None:
    """A twin acts: the agent draws its first token in training."""
    for out, episodes in (("few", "8"), ("many", "64")):
        assert train(words("Leaning", tmp_path / out, "--eval-episodes", episodes)) == 0
    assert log(tmp_path / "few") == log(tmp_path / "many")


def test_a_run_goes_on_from_the_checkpoint_of_an_agent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(words("Leaning", tmp_path / "once", "--episodes", "32")) == 0
    assert train(words("Leaning", tmp_path / "twice")) == 0
    assert train(words("Leaning", tmp_path / "twice", "--episodes", "32")) == 0
    assert log(tmp_path / "twice") == log(tmp_path / "once")
    assert len(log(tmp_path / "once")) == 4
    newest = max((tmp_path / "twice/checkpoints").glob("update-*"))
    kept = newest / "leaning.json"
    kept.write_text(kept.read_text().replace("1", "2", 1))
    capsys.readouterr()
    assert evaluate([str(newest), "--trust"]) == 2
    assert "the checksum of leaning.json differs" in capsys.readouterr().err
    assert evaluate([str(tmp_path / "once"), "--trust"]) == 2
    assert "Leaning', which only acts; what it reached is in" in capsys.readouterr().err


def test_a_class_of_an_agent_is_evaluated_and_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["--epochs", "2", "--clip-range", "0.1", "--gae-lambda", "0.9", "--kl-coef", "0.2"]
    own, usual = tmp_path / "own", tmp_path / "usual"
    assert train(words("OpenPPO", own, *more)) == 0
    train_on_toy15(usual, *more)
    assert log(own) == log(usual)
    found, expected = (json.loads((out / "evaluation.json").read_text()) for out in (own, usual))
    assert found == expected
    capsys.readouterr()
    for command, folders in ((evaluate, [own]), (compare, [usual, own])):
        asked = [str(folder) for folder in folders]
        assert command([*asked, "--episodes", "8"]) == 2
        assert f"the agent '{HERE}OpenPPO', which is not run" in capsys.readouterr().err
        assert command([*asked, "--episodes", "8", "--trust"]) == 0
    figures = json.loads((tmp_path / "own-evaluation/evaluation.json").read_text())
    assert figures["figures"]["kl"]


@pytest.mark.parametrize(
    ("agent", "more", "message"),
    [
        ("Demanding", [], "asks for table; give them a default"),
        ("NoUpdate", [], "got a class without update; add it"),
        ("Nothing", [], "the module has no class or function 'Nothing'"),
        ("Uniform", ["--learning-rate", "0.1"], "--learning-rate must be taken by every agent"),
        ("Uniform", ["--epochs", "2"], "--epochs is not a setting of tests.studies.own_agents:Uni"),
        ("Uniform", ["--gae-lambda", "0.9"], "--gae-lambda is not a setting of"),
        ("OpenPPO", ["--clip-range", "-1"], "--clip-range must be"),
        ("OpenPPO", ["--minibatches", "3"], "--episodes-per-update must be a multiple of 3"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], agent: str, more: list[str], message: str
) -> None:
    assert train(words(agent, tmp_path / "run", *more)) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
