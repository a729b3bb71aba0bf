"""The examples of docs/turns-and-exchange.md run, those of other libraries where these are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.rlhf_env.text.test_text_ids import byte_tokenizer
from tests.toys import tiny_llama

PAGE = Path(__file__).parents[2] / "docs" / "turns-and-exchange.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
VIEW, GAME, SERVER, CLIENT, THEIRS, TRAINER, QUESTIONS = EXAMPLES


def run(example: str, names: dict[str, Any] | None = None) -> dict[str, Any]:
    names = {} if names is None else names
    exec(compile(example, PAGE.name, "exec"), names)
    return names


def test_the_view_of_turns() -> None:
    names = run(VIEW)
    assert names["info"]["finish_reason"] == "eos"
    assert names["env"].unwrapped.task.decode(names["info"]["tokens"]) == "the soup was great"


def test_a_game() -> None:
    assert run(GAME, run(VIEW))["reward"] == 1.0


def test_openenv_both_ways() -> None:
    pytest.importorskip("openenv")
    from tests.clients.openenv_server import served

    names = run(SERVER, run(VIEW))
    paid = names["reward"]
    with served(names["app"]) as url:
        run(CLIENT.replace("http://localhost:8000", url), names)
        assert names["result"].reward == paid
        run(THEIRS.replace("http://localhost:8000", url), names)
    assert (len(names["task"].prompts), len(names["task"].eval_prompts)) == (8, 4)


def test_the_environment_for_trl() -> None:
    view, trainer = run(VIEW), run(TRAINER)
    assert trainer["one"].get_reward() == view["reward"]


def test_questions_with_a_verifier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("reasoning_gym")
    monkeypatch.chdir(tmp_path)
    tokenizer = byte_tokenizer(adds_start=False)
    tokenizer.save_pretrained("my-model")
    tiny_llama(len(tokenizer)).save_pretrained("my-model")
    task = run(QUESTIONS)["sums"]
    assert (len(task.prompts), len(task.eval_prompts)) == (64, 16)
