"""Rows of a file become questions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from studies.labelling.items import read_items
from tests.studies.labelling.made import pairs, write_rows

CHAT = [{"role": "user", "content": "hello"}]


def asked(tmp_path: Path, *rows: dict[str, Any], ask: str | None = None) -> list[tuple[Any, ...]]:
    items = read_items(write_rows(tmp_path / "rows.jsonl", rows), ask)
    assert [item.number for item in items] == list(range(1, len(items) + 1))
    return [(item.ask, item.prompt, item.responses) for item in items]


def test_the_number_of_responses_says_what_is_asked(tmp_path: Path) -> None:
    assert asked(
        tmp_path,
        {"prompt": "p", "response": "one"},
        {"prompt": "p", "completion": "two"},
        {"prompt": "p", "response_a": "a", "response_b": "b", "preferred": None},
        {"prompt": CHAT, "chosen": "c", "rejected": "r"},
        {"prompt": "p", "responses": ["x", "y", "z"]},
    ) == [
        ("thumbs", "p", ("one",)),
        ("thumbs", "p", ("two",)),
        ("compare", "p", ("a", "b")),
        ("compare", tuple(CHAT), ("c", "r")),
        ("rank", "p", ("x", "y", "z")),
    ]


def test_a_row_or_the_command_line_says_otherwise(tmp_path: Path) -> None:
    rows = [{"prompt": "p", "responses": ["x", "y"], "ask": "rank"}]
    assert asked(tmp_path, *rows) == [("rank", "p", ("x", "y"))]
    assert asked(tmp_path, *rows, ask="rate") == [("rate", "p", ("x",)), ("rate", "p", ("y",))]


def test_three_are_compared_pair_by_pair(tmp_path: Path) -> None:
    rows = [{"prompt": "p", "responses": ["x", "y", "z"]}]
    found = asked(tmp_path, *rows, ask="compare")
    assert [responses for *_, responses in found] == [("x", "y"), ("x", "z"), ("y", "z")]


def test_samples_of_two_stages_are_put_together_in_their_order(tmp_path: Path) -> None:
    """The rows of ``samples.jsonl``; the same prompt may come again."""
    rows = [
        {"prompt": prompt, "response": f"{stage} {n}", "stage": stage, "tokens": []}
        for stage in ("before", "after")
        for n, prompt in enumerate(["p", "q", "p"])
    ]
    assert asked(tmp_path, *rows, ask="compare") == [
        ("compare", "p", ("before 0", "after 0")),
        ("compare", "q", ("before 1", "after 1")),
        ("compare", "p", ("before 2", "after 2")),
    ]


def test_without_stages_all_responses_to_a_prompt_are_ranked(tmp_path: Path) -> None:
    rows = [{"prompt": "p", "response": text} for text in ("x", "y", "x", "z")]
    assert asked(tmp_path, *rows, ask="rank") == [("rank", "p", ("x", "y", "z"))]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"response": "x"}, "row 1: there is no 'prompt', got the columns ['response']"),
        ({"prompt": "p"}, "row 1: there must be response_a/response_b, chosen/rejected,"),
        ({"prompt": "p", "response": " "}, "row 1: response must not be empty"),
        ({"prompt": 3, "response": "x"}, "row 1: prompt must be a text or a list of messages"),
        ({"prompt": "p", "response": "x", "ask": "guess"}, "row 1: ask must be one of compare,"),
        ({"prompt": "p", "responses": [*"abcdefghij"]}, "at most 9 responses can be ranked"),
        ({"prompt": "p", "response_a": "x", "response_b": "x"}, "must hold something to judge"),
        ({"prompt": "p", "response": "\ud800"}, "row 1: response must be valid Unicode"),
    ],
)
def test_what_cannot_be_asked_is_named(tmp_path: Path, row: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValueError) as error:
        asked(tmp_path, row)
    assert expected in str(error.value)


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.txt"
    path.write_text("x")
    with pytest.raises(ValueError, match=r"--data must be a \.jsonl or"):
        read_items(path, None)
    assert len(read_items(write_rows(tmp_path / "rows.json", pairs(3)), None)) == 3
