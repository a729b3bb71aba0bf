"""`--reward` functions get the fields of the prompts' rows, and the messages of chats."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from studies.cli.commands.evaluate import main as evaluate
from studies.cli.commands.train import main as train
from tests.rlhf_env.text.test_text_ids import byte_tokenizer
from tests.studies.saved_agents import QUICK
from tests.toys import tiny_llama, tiny_tokenizer

ROWS = [{"text": f"w{i} w{j}", "answer": f"w{j}"} for i in range(2, 12) for j in range(2, 12)]


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    tiny_llama().save_pretrained("model")
    tiny_tokenizer().save_pretrained("model")
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    Path("rewards.py").write_text(
        "def right(prompts, completions, answer, **fields):\n"
        "    assert all(p.split()[-1] == a for p, a in zip(prompts, answer, strict=True))\n"
        "    return [10.0 + c.count(a) for c, a in zip(completions, answer, strict=True)]\n"
        "def solved(prompts, completions, solution):\n"
        "    return [0.0] * len(prompts)\n"
        "def polite(prompts, completions, **fields):\n"
        "    assert all(p[-1]['role'] == 'user' for p in prompts)\n"
        "    return [float(len(c[0]['content'])) for c in completions]\n"
    )
    return tmp_path


def run(*words: str) -> list[str]:
    model = ["--model", "model", "--max-new-tokens", "4", *QUICK, "--out", "out"]
    return [*model, "--prompts", "rows.jsonl", *words]


def test_ground_truth_answers(files: Path) -> None:
    words = run("--reward", "rewards.py:right")
    assert train(words) == 0
    found = json.loads(Path("out/evaluation.json").read_text())
    assert found["before"]["score"] >= 10.0
    assert evaluate(["out", "--trust", "--episodes", "8"]) == 0


def test_a_field_that_no_row_has(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(run("--reward", "rewards.py:solved")) == 2
    error = capsys.readouterr().err
    assert "--reward must be" in error and "columns ['answer']" in error and "solution" in error
    assert not Path("out").exists()


def test_chats(files: Path) -> None:
    tokenizer = byte_tokenizer()
    tiny_llama(vocab_size=len(tokenizer)).save_pretrained("model")
    tokenizer.save_pretrained("model")
    chats = [{"prompt": [{"role": "user", "content": str(n)}]} for n in range(20)]
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in chats))
    words = run("--prompt-field", "prompt", "--reward", "rewards.py:polite")
    assert train([*words, "--prompt-sentences", "1"]) == 2
    assert train(words) == 0
