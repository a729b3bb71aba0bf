from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from studies.cli.commands.compare import main
from studies.evaluation.comparison import paired
from studies.evaluation.page import as_html
from tests.studies.saved_agents import save_untrained, train_on_toy15

HOSTILE = """<script>alert(1)</script><img src=x onerror=alert(2)>"'{{7*7}}{% raw %}-->]]>&lt;"""
ELEMENTS = {
    *("html", "head", "meta", "title", "style", "body", "header", "main", "section", "h1", "h2"),
    *("h3", "p", "div", "table", "thead", "tbody", "tr", "th", "td", "article"),
}


class Page(HTMLParser):
    """What a browser would see: elements, attributes and text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compare")
    train_on_toy15(folder / "a", "--learning-rate", "0.05", "--episodes", "256")
    train_on_toy15(folder / "b", "--learning-rate", "0")
    save_untrained(folder / "saved")
    return folder


def test_two_runs_are_compared_on_the_same_prompts(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    monkeypatch.chdir(place)
    assert main(["a", "b", "--episodes", "200", "--samples", "2"]) == 0
    shown = capsys.readouterr().out
    assert "The first wins" in shown and "first − second" in shown
    assert shown.count("> (empty prompt)") == 2
    found = json.loads(Path("a-against-b/comparison.json").read_text())
    assert found["judge"] == "score"
    assert found["wins"]["low"] > 0.5
    difference = found["first"]["score"]["value"] - found["second"]["score"]["value"]
    assert found["differences"]["score"]["value"] == pytest.approx(difference)
    assert found["second"]["kl"]["value"] == pytest.approx(0.0, abs=1e-6)
    lines = Path("a-against-b/samples.jsonl").read_text().splitlines()
    assert [json.loads(line)["stage"] for line in lines[:4]] == ["first", "second"] * 2
    assert "first wins" in Page(Path("a-against-b/comparison.html").read_text()).text


def test_an_agent_ties_with_itself(place: Path):
    out = place / "itself"
    words = [str(place / "b"), str(place / "saved"), "--episodes", "30", "--out", str(out)]
    assert main(words) == 0
    found = json.loads((out / "comparison.json").read_text())
    assert found["wins"]["value"] == 0.5
    assert found["differences"]["score"] == {"value": 0.0, "low": 0.0, "high": 0.0, "count": 30}


def test_the_interval_of_a_difference_is_that_of_pairs():
    first = pd.DataFrame({"score": [1.0, 5.0, 9.0, 13.0]})
    second = pd.DataFrame({"score": [0.0, 4.0, 8.0, 12.0]})
    found = paired(first, second)["score"]
    assert (found.value, found.low, found.high) == (1.0, 1.0, 1.0)


def test_agents_of_different_tasks_need_one_named(place: Path, capsys: pytest.CaptureFixture):
    words = ["--max-new-tokens", "2", "--learning-rate", "0"]
    other = place / "short"
    if not other.exists():
        train_on_toy15(other, *words)
    capsys.readouterr()
    assert main([str(place / "a"), str(other)]) == 2
    error = capsys.readouterr().err
    assert "trained on one task, got different --max-new-tokens; say what" in error
    out = ["--out", str(place / "named")]
    assert main([str(place / "a"), str(other), "--task", "toy15", "--episodes", "4", *out]) == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a", "nowhere"], "got nowhere where there is nothing"),
        (["saved", "saved"], "--task or --model must say what to ask"),
        (["a", "b", "--episodes", "-1"], "--episodes must be a whole number"),
        (["a", "b", "--out", "a"], "got 'a' with checkpoints in it"),
    ],
)
def test_what_cannot_be_compared_is_one_sentence(
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
    words: list[str],
    message: str,
):
    monkeypatch.chdir(place)
    before = sorted(place.iterdir())
    assert main(words) == 2
    error = capsys.readouterr().err
    assert error.startswith("compare: ") and message in error
    assert len(error.splitlines()) == 1
    assert sorted(place.iterdir()) == before


def test_one_agent_is_none_to_compare():
    with pytest.raises(SystemExit) as caught:
        main(["a"])
    assert caught.value.code == 2


def test_the_page_shows_hostile_text_as_text_and_says_how_much_it_shows():
    record = {"prompt": HOSTILE, "response": HOSTILE, "stage": "first", "score": 1.0, "gold": 0.5}
    long = {**record, "stage": "second", "response": "x" * 1_000_000 + "\x1b[31m"}
    names = {"first": HOSTILE, "second": "b", "task": HOSTILE}
    html = as_html(names, HOSTILE, [(HOSTILE, "1", "2", "3")], [(record, long)] * 60)
    found = Page(html)
    assert found.tags == ELEMENTS
    assert {name for name, _ in found.attributes} <= {
        *("lang", "charset", "http-equiv", "content", "name", "class", "tabindex")
    }
    assert found.text.count(HOSTILE) >= 104
    assert "50 of 60 pairs" in found.text
    assert len(html) < 500_000
    style = re.search("<style>(.*?)</style>", html, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    assert ("content", policy) in found.attributes
