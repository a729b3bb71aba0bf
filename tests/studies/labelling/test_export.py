"""The files are what reward training and the agents of comparisons read."""

from __future__ import annotations

import json
import stat
import warnings
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from rlhf_env.rewards.feedback.files import read_preferences
from rlhf_env.rewards.feedback.records import (
    Comparison,
    MarkedResponse,
    Ranking,
    Rating,
    Span,
    Thumb,
    Votes,
)
from studies.labelling.export import exported, write_export, zipped
from studies.labelling.store import LabelStore
from tests.studies.labelling.made import judge, new_store

CHAT = [{"role": "user", "content": "hello\u2028you"}]
ROWS: list[dict[str, Any]] = [
    {"prompt": CHAT, "response_a": "x", "response_b": "y"},
    {"prompt": "p", "response_a": "x", "response_b": "y"},
    {"prompt": "p", "responses": ["x", "y", "z"]},
    {"prompt": "p", "response": "x", "ask": "thumbs"},
    {"prompt": "p", "response": "x", "ask": "rate"},
    {"prompt": "p", "response": "a🗼 wrong", "ask": "mark"},
]


@pytest.fixture
def store(tmp_path: Path) -> LabelStore:
    made = new_store(tmp_path / "out", ROWS, annotators_per_item=3)
    for name, choice in (("Ada", "a"), ("Bob", "both_bad"), ("Cy", "skip")):
        judge(made, 1, name, choice=choice)
    judge(made, 2, "Ada", choice="skip")
    judge(made, 3, "Ada", choice="ranked", ranking=[2, 1, 2])
    judge(made, 3, "Bob", choice="both_bad", ranking=[1, 1, 1])
    judge(made, 4, "Ada", choice="up")
    judge(made, 4, "Ada", choice="down")
    judge(made, 5, "Ada", choice="rated", rating=4)
    wrong, good = {"start": 3, "end": 8, "type": "rude"}, {"start": 1, "end": 2, "type": "good"}
    judge(made, 6, "Ada", choice="marked", spans=[good, wrong])
    judge(made, 6, "Bob", choice="withdrawn")
    return made


def records(store: LabelStore, folder: Path, name: str) -> list[Any]:
    write_export(store, folder)
    with warnings.catch_warnings():
        # Two annotators who disagree about a ranking are told of as a contradiction.
        warnings.simplefilter("ignore")
        return list(read_preferences(folder / name).records)


def test_the_reader_of_preferences_reads_every_kind(store: LabelStore, tmp_path: Path) -> None:
    votes = Votes(chosen=1.0, tie=1.0, rejected=0.0)
    three = ("x", "y", "z")
    expected: dict[str, list[Any]] = {
        "comparisons": [
            Comparison(prompt=tuple(CHAT), chosen="x", rejected="y", votes=votes),
        ],
        "rankings": [
            Ranking(prompt="p", responses=three, ranks=(2, 1, 2)),
            Ranking(prompt="p", responses=three, ranks=(1, 1, 1)),
        ],
        "thumbs": [Thumb(prompt="p", response="x", is_good=False)],
        "ratings": [Rating(prompt="p", response="x", rating=4)],
        "spans": [
            MarkedResponse(
                prompt="p", response="a🗼 wrong", spans=(Span(start=3, end=8, type="rude"),)
            )
        ],
    }
    for kind, wanted in expected.items():
        assert records(store, tmp_path, f"{kind}.jsonl") == wanted, kind


def test_every_click_is_there_once(store: LabelStore) -> None:
    rows = [json.loads(line) for line in exported(store)["clicks.jsonl"].decode().split("\n")[:-1]]
    assert [row["click"] for row in rows] == list(range(1, 12))
    # What was changed, and what was taken back, no longer holds.
    assert [row["click"] for row in rows if not row["holds"]] == [7, 11]
    assert [row["choice"] for row in rows[6:8]] == ["up", "down"]
    assert rows[0]["shown"] in ([0, 1], [1, 0])
    assert all(row["seconds"] is None and row["at"] > 0 for row in rows)


def test_good_marks_and_both_bad_are_kept_beside(store: LabelStore) -> None:
    files = exported(store)
    spans, pair = (json.loads(files[name]) for name in ("spans.jsonl", "comparisons.jsonl"))
    assert spans["good_spans"] == [{"start": 1, "end": 2, "type": "good"}]
    assert (pair["both_bad"], pair["annotators"], pair["votes"]) == (
        1,
        ["Ada", "Bob"],
        ["a", "tie"],
    )
    rankings = [json.loads(line) for line in files["rankings.jsonl"].splitlines()]
    assert [row["all_bad"] for row in rankings] == [False, True]
    summary = json.loads(files["summary.json"])
    assert summary["done"] == 1
    assert summary["annotators"]["Ada"] == {"answers": 6, "skipped": 1}


def test_files_are_the_owners_and_the_archive_holds_them_all(
    store: LabelStore, tmp_path: Path
) -> None:
    paths = write_export(store, tmp_path)
    assert {stat.S_IMODE(path.stat().st_mode) for path in paths} == {0o600}
    with zipfile.ZipFile(BytesIO(zipped(exported(store)))) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == {
            path.name: path.read_bytes() for path in paths
        }
