"""Rounds of feedback: sampled, labeled, learned from, gone on with."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor

from rlhf_env.rewards.feedback.records import Comparison, Votes
from studies.cli.commands.rounds import main
from studies.feedback_rounds.labels import comparison
from studies.feedback_rounds.pairs import Pair, SampledPairs, gold_preferences
from studies.feedback_rounds.reward import accuracy
from tests.toys import EOS, tiny_tokenizer

TASK = "tests.studies.toy_rounds:words_task"


def arguments(out: Path, **changes: Any) -> list[str]:
    settings = {
        "task": TASK,
        "rounds": 2,
        "pairs_per_round": 48,
        "reward_epochs": 1,
        "episodes_per_round": 8,
        "episodes_per_update": 8,
        "eval_episodes": 16,
        "out": out,
        **changes,
    }
    return [f"--{name.replace('_', '-')}={value}" for name, value in settings.items()]


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("rounds") / "run"
    assert main(arguments(out)) == 0
    return out


def test_the_figures_of_each_round_are_kept(finished: Path) -> None:
    rows = read(finished / "rounds.jsonl")
    assert [(row["round"], row["pairs"]) for row in rows] == [(1, 48), (2, 96)]
    assert rows[0]["previous_accuracy"] is None
    assert 0.0 <= rows[1]["previous_accuracy"] <= 1.0
    assert all(row["train_pairs"] + row["held_out_pairs"] == row["pairs"] for row in rows)
    assert all(math.isfinite(row[name]) for row in rows for name in ("proxy", "gold", "kl"))
    table = pd.read_csv(finished / "rounds.csv")
    assert table["round"].tolist() == [1, 2]
    assert table["gold"].tolist() == pytest.approx([row["gold"] for row in rows], rel=1e-5)


def test_pairs_are_finished_and_different_and_labeled(finished: Path) -> None:
    for number in (1, 2):
        rows = read(finished / f"round_{number}" / "labels.jsonl")
        assert len(rows) == 48
        assert {row["preferred"] for row in rows} == {"a", "b"}
        assert all(row["response_a"] != row["response_b"] for row in rows)
        assert all(len(row[f"response_{side}"].split()) <= 7 for row in rows for side in "ab")
    first, second = (read(finished / f"round_{n}" / "pairs.jsonl") for n in (1, 2))
    assert first != second


def test_more_rounds_go_on_with_the_same_result(finished: Path, tmp_path: Path) -> None:
    assert main(arguments(tmp_path / "run", rounds=1)) == 0
    assert len(read(tmp_path / "run" / "rounds.jsonl")) == 1
    assert main(arguments(tmp_path / "run", rounds=2)) == 0
    expected = (finished / "rounds.jsonl").read_bytes()
    assert (tmp_path / "run" / "rounds.jsonl").read_bytes() == expected


@pytest.mark.parametrize("lost", ["policy", "pairs.jsonl"])
def test_an_interrupted_round_is_done_again(finished: Path, tmp_path: Path, lost: str) -> None:
    """Whatever had been written last when the run was killed."""
    shutil.copytree(finished, tmp_path / "run")
    steps = ["pairs.jsonl", "reward", "policy", "figures.json"]
    for name in steps[steps.index(lost) :]:
        path = tmp_path / "run" / "round_2" / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert main(arguments(tmp_path / "run")) == 0
    expected = (finished / "rounds.jsonl").read_bytes()
    assert (tmp_path / "run" / "rounds.jsonl").read_bytes() == expected


def test_other_settings_are_refused(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (finished / "settings.json").read_bytes()
    assert main(arguments(finished, pairs_per_round=50)) == 2
    assert "pairs_per_round is 48 there and 50 here" in capsys.readouterr().err
    assert (finished / "settings.json").read_bytes() == before


def filled(path: Path, change: Callable[[int, dict[str, Any]], None]) -> None:
    rows = read(path)
    for number, row in enumerate(rows, start=1):
        change(number, row)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def longer(number: int, row: dict[str, Any]) -> None:
    margin = len(row["response_a"]) - len(row["response_b"])
    row["preferred"] = "tie" if margin == 0 else " A " if margin > 0 else "b"


def test_people_fill_in_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = arguments(
        tmp_path / "run",
        task="tests.studies.toy_rounds:task_without_gold",
        labels="people",
        rounds=1,
    )
    labels = tmp_path / "run" / "round_1" / "labels.jsonl"
    assert main(command) == 3
    said = capsys.readouterr().err
    assert "48 of 48 pairs wait for a label: run python scripts/label.py --data" in said
    assert f"or open {labels} and replace null" in said
    assert all(row["preferred"] is None for row in read(labels))

    filled(labels, lambda number, row: longer(number, row) if number > 5 else None)
    assert main(command) == 3
    assert "5 of 48 pairs wait for a label" in capsys.readouterr().err

    filled(labels, longer)
    assert main(command) == 0
    [row] = read(tmp_path / "run" / "rounds.jsonl")
    assert row["pairs"] == 48
    assert "gold" not in row


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"preferred": "c"}, 'line 3 of .* must say "a", "b" or "tie" under preferred, got .c.'),
        ({"preferred": 1}, 'line 3 of .* must say "a", "b" or "tie" under preferred, got 1'),
        ({"response_a": "w2"}, "line 3 of .* must hold the pair that was written there"),
        ({"prompt": None}, "line 3 of .* must have texts under prompt, response_a, response_b"),
    ],
)
def test_a_wrong_line_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, Any], message: str
) -> None:
    command = arguments(tmp_path / "run", labels="people", rounds=1, pairs_per_round=4)
    assert main(command) == 3
    labels = tmp_path / "run" / "round_1" / "labels.jsonl"
    filled(labels, lambda number, row: row.update(change) if number == 3 else None)
    capsys.readouterr()
    assert main(command) == 1
    found = capsys.readouterr().err
    assert re.search(message, found), found


def test_a_file_that_is_no_longer_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = arguments(tmp_path / "run", labels="people", rounds=1, pairs_per_round=4)
    assert main(command) == 3
    labels = tmp_path / "run" / "round_1" / "labels.jsonl"
    whole = labels.read_text(encoding="utf-8")
    labels.write_text(whole + "{\n", encoding="utf-8")
    assert main(command) == 1
    assert "line 5 of" in capsys.readouterr().err
    labels.write_text("".join(whole.splitlines(keepends=True)[1:]), encoding="utf-8")
    assert main(command) == 1
    assert "must hold the 4 pairs that were written, got 3" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": "gould"}, "--labels must be one of gold, people, got 'gould'"),
        ({"rounds": 0}, "--rounds must be a whole number of at least 1, got 0"),
        ({"episodes_per_update": 6}, "--episodes-per-update must be a multiple of 4"),
        ({"policy": "ppa"}, "--policy must be one of ppo, dpo, got 'ppa'"),
        ({"policy": "dpo", "episodes_per_update": 7}, "must be a multiple of 2 with --policy dpo"),
        ({"gold_temperature": -1.0}, "--gold-temperature must be a finite number >= 0, got -1"),
        ({"reward_learning_rate": 0.0}, "--reward-learning-rate must be greater than 0, got 0"),
        ({"reward_rule": "best"}, "--reward-rule must be one of mean, worst, uncertainty"),
        ({"task": "revues"}, "task must be one of .*did you mean 'reviews'"),
        ({"task": "toy15"}, "--task must have a transformer as its reference, got 'toy15'"),
        (
            {"task": "tests.studies.toy_rounds:task_without_gold"},
            "--labels gold needs a task with a gold reward, got 'opinions' without",
        ),
    ],
)
def test_settings_that_are_refused(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, Any],
    message: str,
) -> None:
    assert main(arguments(tmp_path / "run", **changes)) == 2
    found = capsys.readouterr().err
    assert re.search(message, found), found
    assert not (tmp_path / "run").exists()


def test_an_ensemble_is_learned(tmp_path: Path) -> None:
    command = arguments(tmp_path / "run", rounds=1, reward_members=2, reward_rule="worst")
    assert main(command) == 0
    header = json.loads((tmp_path / "run" / "round_1" / "reward" / "reward.json").read_text())
    assert (header["members"], header["rule"]) == (2, "worst")


class Given:
    """The scores that the first token says."""

    def __call__(self, prompts: list[Tensor], responses: list[Tensor]) -> Tensor:
        return torch.tensor([float(ids[0]) for ids in responses])


@pytest.fixture(scope="module")
def by_dpo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("rounds") / "dpo"
    assert main(arguments(out, policy="dpo")) == 0
    return out


def test_labels_train_the_policy_without_a_reward(by_dpo: Path) -> None:
    rows = read(by_dpo / "rounds.jsonl")
    assert [(row["round"], row["pairs"]) for row in rows] == [(1, 48), (2, 96)]
    assert [row["proxy"] for row in rows] == [None, None]
    assert rows[0]["previous_accuracy"] is None
    assert 0.0 <= rows[1]["previous_accuracy"] <= 1.0
    assert all(0.0 <= row["held_out_accuracy"] <= 1.0 for row in rows)
    assert all(math.isfinite(row[name]) for row in rows for name in ("gold", "kl"))
    assert not (by_dpo / "round_1" / "reward").exists()
    metrics = read(by_dpo / "round_1" / "policy" / "metrics.jsonl")
    assert {"accuracy", "margin", "chosen_reward"} <= metrics[0].keys()


def test_an_interrupted_round_of_dpo_is_done_again(by_dpo: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(by_dpo, out)
    (out / "round_2" / "figures.json").unlink()
    shutil.rmtree(out / "round_2" / "policy")
    assert main(arguments(out, policy="dpo")) == 0
    assert read(out / "rounds.jsonl") == read(by_dpo / "rounds.jsonl")


def test_a_folder_keeps_its_policy(by_dpo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments(by_dpo)) == 2
    assert "policy is" in capsys.readouterr().err


def sampled(a: list[float], b: list[float]) -> SampledPairs:
    pair = Pair(prompt="p", response_a="a", response_b="b")
    return SampledPairs(
        pairs=[pair] * len(a),
        prompts=[torch.tensor([0])] * len(a),
        a=[torch.tensor([value]) for value in a],
        b=[torch.tensor([value]) for value in b],
    )


def test_gold_labels_without_noise() -> None:
    pairs = sampled([1.0, 2.0, 3.0], [1.5, 2.0, -3.0])
    assert gold_preferences(pairs, Given(), 0.0, torch.Generator()) == ["b", "tie", "a"]


def test_gold_labels_follow_bradley_terry() -> None:
    """A margin of 2 ln 3 at temperature 2 wins three times out of four."""
    pairs = sampled([2.0 * math.log(3.0)] * 4000, [0.0] * 4000)
    labels = gold_preferences(pairs, Given(), 2.0, torch.Generator().manual_seed(0))
    assert labels.count("a") / 4000 == pytest.approx(0.75, abs=0.02)
    assert labels.count("tie") == 0


def test_labels_become_comparisons() -> None:
    pair = Pair(prompt="p", response_a="one", response_b="two")
    assert comparison(pair, ("a",)) == Comparison(prompt="p", chosen="one", rejected="two")
    assert comparison(pair, ("b",)) == Comparison(prompt="p", chosen="two", rejected="one")
    tie = comparison(pair, ("tie",))
    assert tie is not None
    assert (tie.chosen, tie.votes) == ("one", Votes(chosen=0.0, tie=1.0))
    several = comparison(pair, ("b", "both_bad", "skip", "b", "a"))
    assert several is not None
    assert (several.chosen, several.votes) == ("two", Votes(chosen=2.0, tie=1.0, rejected=1.0))
    assert comparison(pair, ("skip", "skip")) is None


def test_accuracy_by_hand() -> None:
    """Right, wrong, equal; the tie does not count: (1 + 0 + 1/2) / 3."""

    class Lengths:
        def __call__(self, prompts: list[Tensor], responses: list[Tensor]) -> Tensor:
            assert all(ids[-1] == EOS for ids in responses)
            return torch.tensor([float(len(ids)) for ids in responses])

    def pair(chosen: str, rejected: str, votes: Votes | None = None) -> Comparison:
        return Comparison(
            prompt="w2", chosen=chosen, rejected=rejected, votes=votes or Votes(chosen=1.0)
        )

    tie = pair("w3", "w4 w4", Votes(chosen=0.0, tie=1.0))
    pairs = [pair("w3 w3", "w3"), pair("w3", "w4 w3"), pair("w5", "w6"), tie]
    assert accuracy(Lengths(), pairs, tiny_tokenizer()) == pytest.approx(0.5)
    assert accuracy(Lengths(), [tie], tiny_tokenizer()) is None
