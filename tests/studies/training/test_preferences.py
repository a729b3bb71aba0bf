"""Training from a file of comparisons, as the command line does it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agents.training.run_log import read_metrics
from studies.cli.commands.train import main

QUICK = ["--task", "reviews", "--samples", "1", "--eval-episodes", "8", "--episodes", "16"]
FIRST = [*QUICK, "--episodes-per-update", "8"]
PROMPTS = ("pizza", "soup", "salad", "sushi", "burger", "risotto", "curry", "pasta", "steak")


@pytest.fixture
def pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of comparisons in the working folder."""
    monkeypatch.chdir(tmp_path)
    rows = [
        {
            "prompt": f"{dish} {side} positive :",
            "chosen": f"the {dish} was good .",
            "rejected": f"the {dish} was bad .",
        }
        for dish in PROMPTS
        for side in ("taste", "price")
    ]
    return write(tmp_path / "pairs.jsonl", rows)


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.filterwarnings("ignore:.* of .* rows:UserWarning")
def test_a_run_learns_from_a_file_and_predicts_the_held_out(pairs: Path, tmp_path: Path) -> None:
    words = [*FIRST, "--agent", "dpo", "--preferences", str(pairs), "--out", "run"]
    assert main(words) == 0
    evaluation = json.loads((tmp_path / "run/evaluation.json").read_text())
    assert evaluation["before"]["held_out_loss"] == pytest.approx(0.693147, abs=1e-5)
    assert evaluation["before"]["held_out_pairs"] >= 1
    assert "held_out_accuracy" in evaluation["after"]
    rows = read_metrics(tmp_path / "run/metrics.jsonl")
    assert len(rows) == 2 and {"accuracy", "margin", "chosen_reward"} <= set(rows[0])
    assert (tmp_path / "run/reference.safetensors").is_file()


def test_a_run_of_other_comparisons_is_another_run(
    pairs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*FIRST, "--agent", "ipo", "--beta", "0.2", "--preferences", str(pairs), "--out", "run"]
    assert main(words) == 0
    assert main(words) == 0
    write(pairs, [json.loads(line) for line in pairs.read_text().splitlines()[1:]])
    assert main([*words, "--episodes", "32"]) == 2
    assert "digests" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--agent", "ppo", "--preferences", "pairs.jsonl"], "--preferences is for agents that"),
        (["--agent", "dpo", "--preferences", "no.jsonl"], "--preferences must be an existing file"),
        (["--agent", "dpo", "--held-out", "pairs.jsonl"], "--held-out goes with --preferences"),
        (
            ["--agent", "dpo", "--preferences", "pairs.jsonl", "--label-rule", "hard"],
            "--label-rule is for an agent's own responses",
        ),
        (["--agent", "simpo", "--gamma", "0.9"], "--gamma is not a setting of simpo"),
        (["--agent", "dpo", "--kl-placement", "loss"], "--kl-placement is not a setting of dpo"),
        (["--agent", "dpo", "--loss", "dpp"], "loss must be one of"),
        (["--agent", "ppo", "--beta", "1"], "--beta is not a setting of ppo"),
        (["--agent", "dpo", "--label-rule", "loud"], "labels must be one of"),
    ],
)
def test_what_cannot_be_used_is_refused_first(
    words: list[str], message: str, pairs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*FIRST, *words, "--out", "run"]) == 2
    assert message in capsys.readouterr().err
    assert not Path("run").exists()
