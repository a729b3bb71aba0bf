"""The Python code of the README and of every page runs as it is printed."""

from __future__ import annotations

import contextlib
import doctest
import io
import re
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from rlhf_env.rewards.feedback.rated_texts import RatedTexts
from rlhf_env.rewards.text_regression import TextRegressionReward
from tests.toys import tiny_llama, tiny_tokenizer

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
EXAMPLE = re.compile(r"```python\n(.*?)```", flags=re.DOTALL)
# Their examples need more than an empty folder, or are doctests: tests of their own run them.
ELSEWHERE = {
    "custom-agents.md": "tests/agents/test_custom_agents.py",
    "evaluate-a-reward.md": "tests/rlhf_env/rewards/metrics/test_reward_evaluation_page.py",
    "granularity-and-density.md": "tests/wrappers/test_examples.py",
    "reward-mitigations.md": "tests/rlhf_env/rewards/test_mitigations_page.py",
    "rewards.md": "tests/rlhf_env/rewards/test_rewards_page.py",
    "wrappers.md": "tests/wrappers/test_examples.py",
    "write-a-wrapper.md": "tests/wrappers/test_examples.py",
}


def examples(page: Path) -> list[str]:
    return EXAMPLE.findall(page.read_text(encoding="utf-8"))


WITH_CODE = [page for page in PAGES if examples(page)]
DOCTESTS = [page for page in WITH_CODE if page.name not in ELSEWHERE and ">>> " in page.read_text()]
PROGRAMS = [page for page in WITH_CODE if page.name not in ELSEWHERE and page not in DOCTESTS]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What pages speak of: a model, prompts, and a reward that a run learned."""
    monkeypatch.chdir(tmp_path)
    tiny_llama().save_pretrained(tmp_path / "my-model")
    tiny_tokenizer().save_pretrained(tmp_path / "my-model")
    (tmp_path / "prompts.txt").write_text("w5 w6\nw7\n")
    texts = tuple(f"{word} meal {n}" for n in range(10) for word in ("good", "bad"))
    ratings = tuple(1.0 if text.startswith("good") else -1.0 for text in texts)
    (tmp_path / "runs" / "stories").mkdir(parents=True)
    reward = TextRegressionReward.fit(RatedTexts(texts=texts, ratings=ratings))
    reward.save(tmp_path / "runs" / "stories" / "reward.safetensors")
    return tmp_path


def run(page: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, dict[str, Any]]:
    """Return what the examples of a page print, and the names that they leave."""
    # Dataclasses and pickles look their module up by name.
    module = types.ModuleType(f"page_{page.stem.replace('-', '_')}")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        for number, example in enumerate(examples(page)):
            exec(compile(example, f"{page.name}, example {number}", "exec"), vars(module))
    return printed.getvalue(), vars(module)


@pytest.mark.parametrize("page", DOCTESTS, ids=lambda page: page.name)
def test_the_examples_print_what_they_say(page: Path, folder: Path) -> None:
    failed, attempted = doctest.testfile(str(page), module_relative=False, encoding="utf-8")
    assert attempted > 0
    assert failed == 0


@pytest.mark.parametrize("page", PROGRAMS, ids=lambda page: page.name)
def test_the_examples_run(page: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(page, monkeypatch)


def test_the_other_pages_are_run_elsewhere() -> None:
    names = {page.name for page in PAGES}
    assert ELSEWHERE.keys() <= names
    for page, test in ELSEWHERE.items():
        assert page in (ROOT / test).read_text(encoding="utf-8")


def test_the_numbers_of_the_concepts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Worked out by hand: k2 = 0.5²/2, k3 = e^−0.5 − 1 + 0.5; and the tables of toy15."""
    printed, names = run(ROOT / "docs" / "concepts.md", monkeypatch)
    lines = printed.splitlines()
    assert lines[0] == "[0.5, 0.125, 0.1065]"
    assert lines[-2:] == ["1.1253 2.3758 2.5011", "{(): 1.1253, (1,): 2.1575}"]
    assert names["solution"].objective == pytest.approx(1.125295, abs=1e-6)


def test_the_task_of_the_page_is_solved(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, names = run(ROOT / "docs" / "custom-tasks.md", monkeypatch)
    assert names["reached"] >= 0.95 * names["best"]
