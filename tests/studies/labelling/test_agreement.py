"""Agreement is the library's, on the labels as they are exported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import krippendorff
import numpy as np
import pytest

from studies.labelling.agreement import agreements
from studies.labelling.export import exported
from studies.labelling.progress import in_one_line, progress_of
from studies.labelling.store import LabelStore
from tests.studies.labelling.made import judge, new_store, pairs

CODES = {"a": 0, "b": 1, "tie": 2}


def rows_of(store: LabelStore, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in exported(store)[name].decode().splitlines()]


def test_comparisons(tmp_path: Path) -> None:
    store = new_store(tmp_path / "out", pairs(5), annotators_per_item=2)
    said = [("a", "a"), ("b", "b"), ("a", "b"), ("both_bad", "tie"), ("skip", "a")]
    for number, choices in enumerate(said, start=1):
        for name, choice in zip(("Ada", "Bob"), choices, strict=True):
            judge(store, number, name, choice=choice)
    rows = rows_of(store, "comparisons.jsonl")
    table = np.full((2, 5), np.nan)
    for row in rows:
        for name, vote in zip(row["annotators"], row["votes"], strict=True):
            table[("Ada", "Bob").index(name), row["item"] - 1] = CODES[vote]
    expected = krippendorff.alpha(reliability_data=table, level_of_measurement="nominal")
    (found,) = progress_of(store).agreement
    assert (found.ask, found.items) == ("compare", 4)
    assert found.alpha == pytest.approx(expected, abs=1e-12)
    # By hand: of 8 values 3 are a, 3 b, 2 ties; 2 of the 8 disagree with the other of their unit;
    # D_e = (9·2 + 6·4)/(8·7) = 42/56; α = 1 − (2/8)/(42/56) = 2/3.
    assert found.alpha == pytest.approx(2 / 3)
    # By hand: p_o = 3/4; Ada said a, b, tie 2, 1, 1 times, Bob 1, 2, 1: p_e = 5/16; κ = 7/11.
    assert found.kappa == pytest.approx(7 / 11)
    assert json.loads(exported(store)["summary.json"])["cohen_kappa"] == {"compare": found.kappa}
    assert in_one_line(store) == "5 of 5 labeled, alpha 0.67"


def test_ratings_are_ordinal(tmp_path: Path) -> None:
    rows = [{"prompt": "p", "response": f"r{n}"} for n in range(4)]
    store = new_store(tmp_path / "out", rows, ask="rate", annotators_per_item=3)
    table = np.array([[1, 2, 5, 4], [1, 3, 5, np.nan], [2, 3, 4, 4]])
    for annotator, row in zip(("Ada", "Bob", "Cy"), table, strict=True):
        for number, rating in enumerate(row, start=1):
            if not np.isnan(rating):
                judge(store, number, annotator, choice="rated", rating=int(rating))
    (found,) = progress_of(store).agreement
    expected = krippendorff.alpha(reliability_data=table, level_of_measurement="ordinal")
    assert found.alpha == pytest.approx(expected, abs=1e-12)
    # Of three people.
    assert found.kappa is None


def test_kappa_of_ratings_goes_by_squared_distance(tmp_path: Path) -> None:
    rows = [{"prompt": "p", "response": f"r{n}"} for n in range(3)]
    store = new_store(tmp_path / "out", rows, ask="rate", annotators_per_item=2)
    for annotator, ratings in (("Bob", (1, 5, 5)), ("Ada", (1, 3, 5))):
        for number, rating in enumerate(ratings, start=1):
            judge(store, number, annotator, choice="rated", rating=rating)
    (found,) = progress_of(store).agreement
    # By hand: squares of 0, 4, 0 observed, a mean of 60/9 expected; κ = 1 − (4/3)/(60/9). Nobody
    # said 2 or 4.
    assert found.kappa == pytest.approx(0.8)


def test_rankings_count_each_response(tmp_path: Path) -> None:
    rows = [{"prompt": f"p{n}", "responses": ["x", "y", "z"]} for n in range(2)]
    store = new_store(tmp_path / "out", rows, annotators_per_item=2)
    ada, bob = [[1, 2, 3], [2, 1, 3]], [[1, 3, 2], [2, 1, 3]]
    for name, rankings in (("Ada", ada), ("Bob", bob)):
        for number, ranking in enumerate(rankings, start=1):
            judge(store, number, name, choice="ranked", ranking=ranking)
    (found,) = progress_of(store).agreement
    table = [[*ada[0], *ada[1]], [*bob[0], *bob[1]]]
    expected = krippendorff.alpha(reliability_data=table, level_of_measurement="ordinal")
    assert found.alpha == pytest.approx(expected, abs=1e-12)
    assert found.items == 2


def test_marks_count_each_character(tmp_path: Path) -> None:
    store = new_store(
        tmp_path / "out",
        [{"prompt": "p", "response": "abcdé🥐gh"}],
        ask="mark",
        annotators_per_item=2,
    )
    for name, spans in (("Ada", [(0, 3, "error")]), ("Bob", [(1, 3, "error"), (5, 6, "good")])):
        marks = [{"start": s, "end": e, "type": t} for s, e, t in spans]
        judge(store, 1, name, choice="marked", spans=marks)
    (found,) = progress_of(store).agreement
    table = [[1, 1, 1, 0, 0, 0, 0, 0], [0, 1, 1, 0, 0, 2, 0, 0]]
    expected = krippendorff.alpha(reliability_data=table, level_of_measurement="nominal")
    assert found.alpha == pytest.approx(expected, abs=1e-12)


def test_nothing_is_claimed_where_all_said_the_same_of_everything(tmp_path: Path) -> None:
    store = new_store(tmp_path / "out", pairs(2), annotators_per_item=2)
    for number in (1, 2):
        for name in ("Ada", "Bob"):
            judge(store, number, name, choice="a")
    (found,) = progress_of(store).agreement
    assert found.alpha is None
    assert found.kappa is None
    assert in_one_line(store) == "2 of 2 labeled"
    assert agreements(store.items(), store.judgements()[:1]) == []
