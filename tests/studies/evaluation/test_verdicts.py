"""Who wins a pair: at equal length, by a judge in both orders, and by people."""

from __future__ import annotations

import json
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

from agents import Policy, collect
from rlhf_env import load_task
from rlhf_env.rollout import Rollout
from rlhf_env.task import Task
from studies.cli.commands.compare import main
from studies.evaluation.length_control import length_controlled_win_rate
from studies.evaluation.verdicts import by_judge, by_people
from studies.feedback_rounds.labels import LabelsMissing
from tests.studies.saved_agents import train_on_toy15


def test_the_win_rate_at_equal_length_of_two_lengths() -> None:
    """With two lengths the fit passes through both shares, so θ is the mean of their logits.

    The first wins 120 of 150 pairs in which it is longer and 75 of 150 in which it is shorter:
    θ = (logit 0.8 + logit 0.5) / 2 = ln(4) / 2, and σ(θ) = 2/3. The plain rate is 0.65.
    """
    wins = np.repeat([1.0, 0.0, 1.0, 0.0], [120, 30, 75, 75])
    difference = np.repeat([5.0, -5.0], [150, 150])
    found = length_controlled_win_rate(wins, difference)
    assert found.value == pytest.approx(2 / 3, abs=2e-3)
    assert found.low is not None
    assert found.high is not None
    assert 0.58 < found.low < found.value < found.high < 0.75
    swapped = length_controlled_win_rate(1 - wins, -difference)
    assert swapped.value == pytest.approx(1 / 3, abs=2e-3)


def test_ties_are_half_a_win() -> None:
    """A side that wins where it is longer and loses where it is shorter owes it all to length."""
    difference = np.tile([3.0, -3.0], 20)
    assert length_controlled_win_rate(np.full(40, 0.5), difference).value == 0.5
    half = length_controlled_win_rate(np.tile([1.0, 0.0], 20), difference)
    assert half.value == pytest.approx(0.5, abs=0.02)


def test_without_a_difference_in_length_it_is_the_plain_rate() -> None:
    found = length_controlled_win_rate([1.0, 0.0, 1.0, 0.5], [0, 0, 0, 0])
    assert (found.value, found.low) == (0.625, None)
    assert length_controlled_win_rate([1.0, 1.0], [1, 2]).value == 1.0


@pytest.fixture(scope="module")
def answers() -> tuple[Task, Rollout, Rollout]:
    task = load_task("reviews")
    envs = gym.make_vec("RLHF-v0", num_envs=6, task=task)
    policy = Policy(task.reference, task.vocab_size)
    first, second = (collect(envs, policy, 6, seed=s, prompts=task.eval_prompts) for s in (1, 2))
    return task, first, second


def longer(prompts: list[str], a: list[str], b: list[str]) -> list[float]:
    """A judge with a liking for the first place."""
    return [0.9 if len(x) > len(y) else 0.3 for x, y in zip(a, b, strict=True)]


def test_a_judge_is_asked_in_both_orders(answers: tuple[Task, Rollout, Rollout]) -> None:
    """0.9 of the longer shown first and 1 − 0.3 of it shown second: 0.8."""
    task, first, second = answers
    wins = by_judge(f"{__name__}:longer", task, first, second)
    texts = ([task.decode(ids) for ids in each.responses()] for each in (first, second))
    expected = [0.8 if len(a) > len(b) else 0.2 for a, b in zip(*texts, strict=True)]
    assert wins == pytest.approx(expected)
    assert by_judge(f"{__name__}:longer", task, first, first) == pytest.approx([0.5] * 6)


def test_people_label_pairs_in_random_order(
    answers: tuple[Task, Rollout, Rollout], tmp_path: Path
) -> None:
    task, first, second = answers
    path = tmp_path / "pairs.jsonl"
    with pytest.raises(LabelsMissing, match="6 of 6 pairs wait"):
        by_people(path, task, first, second, seed=0)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    ours = [task.decode(ids) for ids in first.responses()]
    is_first = [row["response_a"] in text for row, text in zip(rows, ours, strict=True)]
    assert len(set(is_first)) == 2, "sides are not in random order"
    choices = ["a", "b", "tie", "a", "b", "tie"]
    path.write_text(
        "".join(json.dumps(r | {"preferred": c}) + "\n" for r, c in zip(rows, choices, strict=True))
    )
    expected = [
        0.5 if c == "tie" else float((c == "a") == mine)
        for c, mine in zip(choices, is_first, strict=True)
    ]
    assert by_people(path, task, first, second, seed=0).tolist() == expected
    with pytest.raises(ValueError, match="another"):
        by_people(path, task, second, first, seed=1)


def test_the_command_compares_with_the_reference_by_people(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    train_on_toy15(Path("a"), "--learning-rate", "0.05", "--episodes", "256")
    words = ["a", "reference", "--episodes", "20"]
    assert main(words) == 0
    found = json.loads(Path("a-against-reference/comparison.json").read_text())
    assert found["agents"]["second"] == "reference"
    assert found["wins"]["low"] > 0.5
    assert found["wins_at_equal_length"]["count"] == 20
    assert found["second"]["kl"]["value"] == pytest.approx(0.0, abs=1e-6)

    assert main([*words, "--by", "people"]) == 3
    assert "wait for a label" in capsys.readouterr().err
    path = Path("a-against-reference/pairs.jsonl")
    path.write_text(path.read_text().replace("null", '"tie"'))
    assert main([*words, "--by", "people"]) == 0
    found = json.loads(Path("a-against-reference/comparison.json").read_text())
    assert (found["judge"], found["wins"]["value"]) == ("people", 0.5)


@pytest.mark.parametrize(
    ("by", "sentence"),
    [
        ("golf", "did you mean 'gold'"),
        ("no_module:f", "--by must be given as"),
        ("gold", "gold reward"),
    ],
)
def test_a_judge_that_cannot_be_used_is_one_sentence(
    by: str,
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    train_on_toy15(Path("a"), "--learning-rate", "0")
    capsys.readouterr()
    assert main(["a", "reference", "--by", by, "--episodes", "4"]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert sentence in message
