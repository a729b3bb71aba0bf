"""The Python code of the README and of every page runs as it is printed."""

from __future__ import annotations

import contextlib
import doctest
import io
import re
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pytest

from rlhf_env.rewards.feedback.rated_texts import RatedTexts
from rlhf_env.rewards.text_regression import TextRegressionReward
from tests.toys import tiny_llama, tiny_tokenizer

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "AGENTS.md", *sorted((ROOT / "docs").rglob("*.md"))]
EXAMPLE = re.compile(r"```python\n(.*?)```", flags=re.DOTALL)
# Their examples need more than an empty folder, or are doctests: tests of their own run them.
ELSEWHERE = {
    "custom-agents.md": "tests/agents/test_custom_agents.py",
    "evaluate-a-reward.md": "tests/rlhf_env/rewards/metrics/test_reward_evaluation_page.py",
    "granularity-and-density.md": "tests/wrappers/test_examples.py",
    "reward-mitigations.md": "tests/rlhf_env/rewards/test_mitigations_page.py",
    "rewards.md": "tests/rlhf_env/rewards/test_rewards_page.py",
    "turns-and-exchange.md": "tests/docs/test_exchange_page.py",
    "wrappers.md": "tests/wrappers/test_examples.py",
    "write-a-wrapper.md": "tests/wrappers/test_examples.py",
}


def examples(page: Path) -> list[str]:
    return EXAMPLE.findall(page.read_text(encoding="utf-8"))


WITH_CODE = [page for page in PAGES if examples(page)]
DOCTESTS = [page for page in WITH_CODE if page.name not in ELSEWHERE and ">>> " in page.read_text()]
# Tests of these below look at what the page prints, too.
LOOKED_AT = {"first-episode.md", "first-ablation.md", "concepts.md"}
PROGRAMS = [
    page for page in WITH_CODE if page.name not in {*ELSEWHERE, *LOOKED_AT} and page not in DOCTESTS
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What pages speak of: a model, prompts, and a reward that a run learned."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    tiny_llama().save_pretrained(tmp_path / "my-model")
    tiny_tokenizer().save_pretrained(tmp_path / "my-model")
    (tmp_path / "prompts.txt").write_text("w5 w6\nw7\n")
    texts = tuple(f"{word} meal {n}" for n in range(10) for word in ("good", "bad"))
    ratings = tuple(1.0 if text.startswith("good") else -1.0 for text in texts)
    (tmp_path / "runs" / "stories").mkdir(parents=True)
    reward = TextRegressionReward.fit(RatedTexts(texts=texts, ratings=ratings))
    reward.save(tmp_path / "runs" / "stories" / "reward.safetensors")
    return tmp_path


@pytest.fixture(autouse=True)
def no_figures_are_left() -> Iterator[None]:
    yield
    plt.close("all")


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


def test_the_first_page_ends_with_a_figure(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    printed, names = run(ROOT / "docs" / "tutorials" / "first-episode.md", monkeypatch)
    assert "score: 0.75" in printed
    assert names["curve"][0] == pytest.approx(0.0396, abs=1e-4)
    assert names["curve"][-1] > 0.9 * names["optimum"]
    assert (folder / "first-figure.png").stat().st_size > 5000


def test_the_numbers_of_the_first_ablation(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, names = run(ROOT / "docs" / "tutorials" / "first-ablation.md", monkeypatch)
    assert names["reached"] == pytest.approx({0.9: 0.72, 1.0: 0.99}, abs=0.02)


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
