"""The command line of `scripts/train_reward.py`."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from rlhf_env.rewards import load_reward
from studies.cli.commands.train_reward import main
from tests.toys import tiny_llama, tiny_tokenizer

GOOD, BAD = "the pizza was good .", "the pizza was bad ."
PAGE = Path(__file__).parents[3] / "docs/train-a-reward.md"


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    tiny_llama().save_pretrained(tmp_path / "model")
    tiny_tokenizer().save_pretrained(tmp_path / "model")
    rows = [
        {"question": f"w{i} w{j}", "response_a": "w5", "response_b": "w6", "votes": ["a", "a", "b"]}
        for i in range(2, 8)
        for j in range(2, 7)
    ]
    write(tmp_path / "votes.jsonl", rows)
    write(tmp_path / "bad.jsonl", [*rows, {**rows[0], "votes": ["c"]}])
    return tmp_path


def write(path: Path, rows: list[dict]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


COMMAND = ["--data", "votes.jsonl", "--field", "prompt=question", "--model", "model"]
QUICK = ["--epochs", "1", "--device", "cpu", "--out", "out"]


def test_one_command_writes_a_reward_and_its_figures(
    files: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main([*COMMAND, *QUICK, "--members", "2"]) == 0
    figures = json.loads((files / "out/figures.json").read_text())
    assert figures["kind"] == "comparisons"
    assert figures["train_records"] + figures["held_out_records"] == 30
    assert [member["steps"] for member in figures["members"]] == [1, 1]
    assert 0.0 <= figures["members"][0]["held_out_accuracy"] <= 1.0
    assert capsys.readouterr().out.count("held-out loss") == 2
    assert len(load_reward(files / "out").members) == 2  # type: ignore[union-attr]


@pytest.mark.filterwarnings("default")
def test_notes_are_said_and_kept(files: Path, capsys: pytest.CaptureFixture) -> None:
    rows = [json.loads(line) for line in (files / "votes.jsonl").read_text().splitlines()]
    write(files / "votes.jsonl", [*rows, {**rows[0], "response_a": ""}])
    assert main([*COMMAND, *QUICK]) == 0
    note = "1 of 31 rows left out for a response that is empty or no text (row 31)"
    assert f"note: --data: {note}" in capsys.readouterr().err
    assert note in json.loads((files / "out/figures.json").read_text())["notes"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--kind", "votes"], "--kind must be one of comparisons"),
        (["--field", "prompt"], "--field must be given as name=column, got 'prompt'"),
        (["--data", "none.jsonl"], "--data must be an existing file"),
        (["--data", "bad.jsonl"], "--data: row 31: votes must be a, b or tie, got 'c'"),
        (["--held-out", "none.jsonl"], "--held-out must be an existing file"),
        (["--model", "./nowhere"], "'./nowhere', which is not a folder"),
        (["--out", "model"], "folder must be new or empty"),
        (["--epochs", "0"], "epochs must be an integer >= 1, got 0"),
        (["--learning-rate", "nan"], "learning_rate must be"),
        (["--max-tokens", "3"], "max_tokens must leave some of the data"),
    ],
)
def test_bad_input_is_refused_in_one_sentence_and_nothing_is_written(
    files: Path, capsys: pytest.CaptureFixture, words: list[str], message: str
) -> None:
    before = sorted(files.rglob("*"))
    try:
        assert main([*COMMAND, *QUICK, *words]) == 2
    except SystemExit as stopped:
        assert stopped.code == 2
    assert message in capsys.readouterr().err
    assert sorted(files.rglob("*")) == before


def test_the_code_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.S)
    found: dict = {}
    exec(code, found)
    good, bad = found["result"].score(["pizza taste positive :"] * 2, [GOOD, BAD])
    assert good > bad
    assert len(found["task"].reward.members) == 2
