"""The examples of docs/rewards.md run as they stand; names of the package are found lazily."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import rlhf_env.rewards
from tests.rlhf_env.rewards.test_classifier import llama, reversed_tokenizer

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "rewards.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the examples leave behind, run one after the other next to a classifier "judge"."""
    folder = tmp_path_factory.mktemp("page")
    tokenizer = reversed_tokenizer()
    tokenizer.unk_token = "<pad>"
    tokenizer.backend_tokenizer.model.unk_token = "<pad>"  # type: ignore[attr-defined]
    tokenizer.save_pretrained(folder / "judge")
    model = llama(2, id2label={0: "bad", 1: "good"}, label2id={"bad": 0, "good": 1})
    model.save_pretrained(folder / "judge")
    spaces: dict[str, Any] = {"__name__": __name__}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for number, example in enumerate(EXAMPLES):
            exec(compile(example, f"example {number}", "exec"), spaces)
    return spaces


def test_every_section_has_an_example() -> None:
    assert len(EXAMPLES) == 9


def test_the_examples_do_what_they_say(names: dict[str, Any]) -> None:
    prompts, answers = names["prompts"], names["answers"]
    assert names["Stops"]()(prompts, answers).tolist() == [1.0, 0.0]
    assert names["learned"].predict(["good"]) > names["learned"].predict(["bad"])
    assert [len(names["task"].prompts), len(names["task"].reward(prompts, answers))] == [1, 2]


def test_names_are_found_when_asked_for() -> None:
    for name in rlhf_env.rewards.__all__:
        assert getattr(rlhf_env.rewards, name).__module__.startswith("rlhf_env.rewards.")
    with pytest.raises(AttributeError, match="attribute Nonsense"):
        _ = rlhf_env.rewards.Nonsense


def test_importing_is_light() -> None:
    heavy = ("torch", "transformers", "sklearn", "scipy")
    code = f"import sys, rlhf_env.rewards; print(sorted(set({heavy}) & set(sys.modules)), end='')"
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert found.stdout == "[]"
