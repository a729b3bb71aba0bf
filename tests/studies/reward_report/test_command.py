from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from studies.cli.commands.reward_report import main

SMALL = [
    *("--fresh.vocab-size", "300", "--fresh.hidden-size", "8", "--fresh.layers", "1"),
    *("--epochs", "1", "--batch-size", "8", "--device", "cpu"),
]


@pytest.fixture(autouse=True)
def own_warnings() -> Iterator[None]:
    """The command prints warnings for people; here they stay what they are elsewhere."""
    shown = warnings.showwarning
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        yield
    warnings.showwarning = shown


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def pairs(start: int, count: int, **columns: str) -> list[dict[str, Any]]:
    return [
        {"prompt": f"p {n}", "chosen": f"kind {n % 3}", "rejected": f"rude {n % 3}", **columns}
        for n in range(start, start + count)
    ]


def test_a_report_of_pairs_and_then_of_the_saved_reward(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write(tmp_path / "train.jsonl", pairs(0, 40))
    # Two of the prompts were trained on.
    test = write(tmp_path / "test.jsonl", pairs(38, 12))
    other = write(
        tmp_path / "other.jsonl",
        [*pairs(60, 4, subset="Natural"), *pairs(70, 3, subset="Adversarial/Manual")],
    )
    first, second = tmp_path / "first", tmp_path / "second"
    asked = ["--data", data, "--test", test, "--also", other]
    assert main([*asked, "--out", str(first), *SMALL]) == 0
    printed = capsys.readouterr()
    assert "| decided pairs | 10 | 10 |" in printed.out
    assert "2 of 12 held-out records left out: seen in training" in printed.err
    found = json.loads((first / "figures.json").read_text(encoding="utf-8"))
    assert list(found["figures"]) == ["test", "Adversarial", "Adversarial/Manual", "Natural"]
    assert found["figures"]["test"]["bag of words"]["accuracy"] == 1.0
    assert found["figures"]["Natural"]["model"]["decided_pairs"] == 4.0
    assert found["training"]["train_records"] + found["training"]["held_out_records"] == 40
    assert (first / "calibration.png").read_bytes().startswith(b"\x89PNG")
    assert "| Adversarial/Manual | 3 |" in (first / "report.md").read_text(encoding="utf-8")

    assert main([*asked, "--reward", str(first / "reward"), "--out", str(second)]) == 0
    again = json.loads((second / "figures.json").read_text(encoding="utf-8"))
    assert again["figures"] == found["figures"]
    assert not (second / "reward").exists()


def test_a_report_of_marks(tmp_path: Path) -> None:
    rows = [
        {"prompt": f"p {n}", "response": "fine bad fine", "spans": [{"start": 5, "end": 8}]}
        for n in range(40)
    ]
    data, test = write(tmp_path / "a.jsonl", rows[:30]), write(tmp_path / "b.jsonl", rows[30:])
    out = tmp_path / "out"
    assert main(["--data", data, "--test", test, "--out", str(out), *SMALL]) == 0
    found = json.loads((out / "figures.json").read_text(encoding="utf-8"))["figures"]["test"]
    # The mark always stands at the same word.
    assert found["token and neighbors"]["auc"] == 1.0
    assert not (out / "calibration.png").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--kind", "opinions"], "--kind must be one of comparisons"),
        (["--model", "a", "--reward", "b"], "--model must be left out where --reward is given"),
        (["--field", "prompt"], "--field must be given as name=column, got 'prompt'"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write(tmp_path / "train.jsonl", pairs(0, 40))
    out = tmp_path / "out"
    assert main(["--data", data, "--test", data, "--out", str(out), *words]) == 2
    printed = capsys.readouterr().err
    assert said in printed
    assert len(printed.splitlines()) == 1
    assert not out.exists()
