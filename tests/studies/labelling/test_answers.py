"""Forms become answers, and nothing else does."""

from __future__ import annotations

import json
from typing import Any

import pytest

from studies.labelling.answers import in_words, read_answer
from tests.studies.labelling.made import BOUNDS, item

PAIR, THREE = item("compare", "x", "y"), item("rank", "x", "y", "z")
THUMB, RATE = item("thumbs", "x"), item("rate", "x")
# Four code points for Python, six units for a browser.
MARK = item("mark", "a🗼é🥐")


def marked(*spans: Any) -> dict[str, str]:
    return {"choice": "marked", "spans": json.dumps(spans)}


def span(start: Any, end: Any, kind: str = "error") -> dict[str, Any]:
    return {"start": start, "end": end, "type": kind}


@pytest.mark.parametrize(
    ("asked", "fields", "expected"),
    [
        (PAIR, {"choice": "b"}, {"choice": "b"}),
        (PAIR, {"choice": "both_bad"}, {"choice": "both_bad"}),
        (THREE, {"choice": "skip"}, {"choice": "skip"}),
        (
            THREE,
            {"choice": "ranked", "rank_0": "3", "rank_1": "1", "rank_2": "3"},
            {"choice": "ranked", "ranking": [2, 1, 2]},
        ),
        (THREE, {"choice": "tie"}, {"choice": "tie", "ranking": [1, 1, 1]}),
        (THREE, {"choice": "both_bad"}, {"choice": "both_bad", "ranking": [1, 1, 1]}),
        (THUMB, {"choice": "up"}, {"choice": "up"}),
        (RATE, {"choice": "4"}, {"choice": "rated", "rating": 4}),
        (MARK, marked(), {"choice": "marked", "spans": []}),
        (
            MARK,
            marked(span(3, 4, "good"), span(1, 2, "rude")),
            {"choice": "marked", "spans": [span(1, 2, "rude"), span(3, 4, "good")]},
        ),
    ],
)
def test_what_is_kept(asked: Any, fields: dict[str, str], expected: dict[str, Any]) -> None:
    assert read_answer(asked, fields, BOUNDS) == expected


@pytest.mark.parametrize(
    ("asked", "fields", "expected"),
    [
        (PAIR, {}, "choice must be one of a, b, tie, both_bad, skip, got ''"),
        (PAIR, {"choice": "up"}, "choice must be one of a, b"),
        (THUMB, {"choice": "tie"}, "choice must be one of up, down, skip"),
        (THREE, {"choice": "ranked", "rank_0": "1"}, "every response must have a rank"),
        (
            THREE,
            {"choice": "ranked", "rank_0": "1", "rank_1": "4", "rank_2": "1"},
            "from 1 to 3, got '4'",
        ),
        (
            THREE,
            {"choice": "ranked", "rank_0": "9" * 5000, "rank_1": "1", "rank_2": "1"},
            "from 1 to 3",
        ),
        (RATE, {"choice": "6"}, "rating must be from 1 to 5, got '6'"),
        (RATE, {"choice": "²"}, "rating must be from 1 to 5"),
        (MARK, {"choice": "marked"}, "Expecting value"),
        (MARK, {"choice": "marked", "spans": "[" * 100_000}, "nested too deeply"),
        (MARK, marked(span(0, 5)), "lie in the 4 characters"),
        (MARK, marked(span(2, 2)), "one after the other, got 2 to 2"),
        (MARK, marked(span(-1, 2)), "lie in the 4 characters"),
        (MARK, marked(span(0, 2), span(1, 3)), "got 1 to 3 after 2"),
        (MARK, marked(span(0, True)), "whole numbers"),
        (MARK, marked(span(0, 1, "<b>")), "must be one of good, error, rude"),
        (MARK, marked(*[span(0, 1)] * 501), "at most 500"),
        (MARK, {"choice": "marked", "spans": '{"start": 0}'}, "must be a list"),
    ],
)
def test_what_is_refused(asked: Any, fields: dict[str, str], expected: str) -> None:
    with pytest.raises(ValueError) as error:
        read_answer(asked, fields, BOUNDS)
    assert expected in str(error.value)


@pytest.mark.parametrize(
    ("answer", "shown", "expected"),
    [
        ({"choice": "a"}, [1, 0], "B is better"),
        ({"choice": "b"}, [1, 0], "A is better"),
        ({"choice": "both_bad"}, [1, 0], "both bad"),
        ({"choice": "both_bad", "ranking": [1, 1, 1]}, [1, 0, 2], "all bad"),
        ({"choice": "ranked", "ranking": [2, 1, 2]}, [2, 1, 0], "B, A = C"),
        ({"choice": "rated", "rating": 4}, [0], "4"),
        ({"choice": "marked", "spans": [span(0, 1)]}, [0], "1 mark"),
        ({"choice": "skip"}, [0], "skipped"),
    ],
)
def test_answers_are_told_as_they_were_seen(
    answer: dict[str, Any], shown: list[int], expected: str
) -> None:
    assert in_words(answer, shown) == expected
