"""Reading what people said, in every form and with every flaw."""

from __future__ import annotations

import gzip
import json
import os
import warnings
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st

from rlhf_env.rewards import (
    ComparedResponses,
    Comparison,
    MarkedResponse,
    PreferenceData,
    Ranking,
    Rating,
    Span,
    Thumb,
    Votes,
    read_preferences,
)

PAIR = {"prompt": "p", "chosen": "good", "rejected": "bad"}
TIE = Votes(chosen=0.0, tie=1.0)
FORMS: list[tuple[dict[str, Any], str, Any]] = [
    (PAIR, "comparisons", Comparison(prompt="p", chosen="good", rejected="bad")),
    (
        {**PAIR, "margin": 0.5, "tie": False},
        "comparisons",
        Comparison(prompt="p", chosen="good", rejected="bad", margin=0.5),
    ),
    (
        {**PAIR, "tie": True},
        "comparisons",
        Comparison(prompt="p", chosen="good", rejected="bad", votes=TIE),
    ),
    (
        {"chosen": "\n\nHuman: hi\n\nAssistant: yes", "rejected": "\n\nHuman: hi\n\nAssistant: no"},
        "comparisons",
        Comparison(prompt="\n\nHuman: hi\n\nAssistant:", chosen=" yes", rejected=" no"),
    ),
    (
        {
            "chosen": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yes"}],
            "rejected": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "no"}],
        },
        "comparisons",
        Comparison(prompt=({"role": "user", "content": "hi"},), chosen="yes", rejected="no"),
    ),
    (
        {"prompt": "p", "response_a": "x", "response_b": "y", "votes": ["b", "tie", "b"]},
        "comparisons",
        Comparison(
            prompt="p", chosen="y", rejected="x", votes=Votes(chosen=2.0, tie=1.0, rejected=0.0)
        ),
    ),
    (
        {"prompt": "p", "response_a": "x", "response_b": "y", "winner": "a"},
        "comparisons",
        Comparison(prompt="p", chosen="x", rejected="y"),
    ),
    (
        {
            "prompt": "p",
            "responses": ["x", "y", "z"],
            "preferences": [{"a": 0, "b": 2, "winner": "b"}],
        },
        "comparisons",
        ComparedResponses(
            prompt="p",
            responses=("x", "y", "z"),
            pairs=(Comparison(prompt="p", chosen="z", rejected="x"),),
        ),
    ),
    (
        {"prompt": "p", "responses": ["x", "y", "z"], "ranking": [2, 1, 2]},
        "rankings",
        Ranking(prompt="p", responses=("x", "y", "z"), ranks=(2, 1, 2)),
    ),
    (
        {"prompt": "p", "response": "x", "rating": 4},
        "ratings",
        Rating(prompt="p", response="x", rating=4),
    ),
    (
        {"prompt": "p", "responses": ["x"], "ratings": [-1.5]},
        "ratings",
        Rating(prompt="p", response="x", rating=-1.5),
    ),
    (
        {"prompt": "p", "response": "x", "thumb": "down"},
        "thumbs",
        Thumb(prompt="p", response="x", is_good=False),
    ),
    (
        {"prompt": "p", "completion": "x", "label": True},
        "thumbs",
        Thumb(prompt="p", response="x", is_good=True),
    ),
    (
        {"prompt": "p", "response": "a lie", "spans": [{"start": 2, "end": 5, "type": "false"}]},
        "spans",
        MarkedResponse(prompt="p", response="a lie", spans=(Span(start=2, end=5, type="false"),)),
    ),
    (
        {"prompt": "p", "tokens": ["a", " lie"], "labels": [True, False]},
        "spans",
        MarkedResponse(prompt="p", response="a lie", spans=(Span(start=1, end=5),)),
    ),
]


@pytest.mark.parametrize(("row", "kind", "record"), FORMS)
def test_every_form_from_every_source(
    tmp_path: Path, row: dict[str, Any], kind: str, record: Any
) -> None:
    line = json.dumps(row)
    (tmp_path / "rows.jsonl").write_bytes(b"\xef\xbb\xbf" + f"{line}\r\n\r\n".encode())
    (tmp_path / "rows.jsonl.gz").write_bytes(gzip.compress(line.encode()))
    pd.DataFrame([row]).to_parquet(tmp_path / "rows.parquet")
    files = [tmp_path / name for name in ("rows.jsonl", "rows.jsonl.gz", "rows.parquet")]
    for source in (*files, [row], Dataset.from_list([row])):
        data = read_preferences(source)
        assert (data.kind, data.records, data.notes) == (kind, (record,), ())


def test_columns_may_be_called_otherwise() -> None:
    row = {"a": "one", "b": " two ", "inner": ["x", "y"], "mark": {"mean": 2}}
    fields = {"prompt": "a+b", "response": "inner.1", "rating": "mark.mean"}
    (record,) = read_preferences([row], fields=fields).records
    assert record == Rating(prompt="one\n\ntwo", response="y", rating=2)
    (bare,) = read_preferences([row], fields={**fields, "prompt": ""}).records
    assert bare.prompt == ""


def test_a_ranking_holds_all_its_pairs() -> None:
    ranking = Ranking(prompt="p", responses=("x", "y", "z"), ranks=(2, 1, 2))
    pairs = [(pair.chosen, pair.rejected, pair.votes.tie) for pair in ranking.pairs]
    assert pairs == [("y", "x", 0.0), ("y", "z", 0.0), ("x", "z", 1.0)]


MESSAGES = [{"role": "user", "content": "hi"}]
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"prompt": "p", "chosn": "x", "rejected": "y"}, r"got \['chosn', 'prompt', 'rejected'\]"),
    ({"response": "x", "rating": 1}, "must have a column 'prompt', got"),
    ({**PAIR, "prompt": 3}, "row 1: prompt must be a text or a list of messages, got 3"),
    ({**PAIR, "prompt": "\ud800"}, "row 1: prompt must be valid Unicode"),
    ({**PAIR, "chosen": "\ud800"}, "row 1: chosen must be valid Unicode"),
    ({**PAIR, "chosen": None}, "row 1: there is no 'chosen'"),
    ({**PAIR, "margin": float("nan")}, "row 1: margin must be a finite number, got nan"),
    ({**PAIR, "margin": "big"}, "row 1: margin must be a finite number, got 'big'"),
    ({**PAIR, "tie": 1}, "row 1: tie must be true or false, got 1"),
    ({**PAIR, "chosen_score": "1", "rejected_score": 2}, "row 1: chosen_score must be a finite"),
    ({"chosen": "x", "rejected": "y"}, "must begin with the same turns"),
    (
        {
            "chosen": "\n\nAssistant: x\n\nHuman: y",
            "rejected": "\n\nAssistant: z",
        },
        "more turns after it",
    ),
    ({"chosen": MESSAGES, "rejected": MESSAGES}, "must hold the prompt's messages"),
    ({"chosen": MESSAGES * 2, "rejected": MESSAGES}, "must differ in their last message only"),
    ({"prompt": "p", "responses": ["x"], "ranking": [1]}, "row 1: responses must be at least 2"),
    ({"prompt": "p", "responses": ["x", "y"], "ranking": [1]}, "one rank per response, got 1"),
    ({"prompt": "p", "responses": ["x", "y"], "ranking": [1, None]}, "finite number, got None"),
    ({"prompt": "p", "responses": "xy", "ranking": [1, 2]}, "responses must be a list, got 'xy'"),
    ({"prompt": "p", "response": "x", "rating": float("inf")}, "rating must be a finite number"),
    ({"prompt": "p", "response": "x", "rating": "5"}, "rating must be a finite number, got '5'"),
    ({"prompt": "p", "response": "x", "rating": True}, "rating must be a finite number, got True"),
    ({"prompt": "p", "responses": ["x"], "ratings": [1, 2]}, "one number per response, got 2"),
    ({"prompt": "p", "response": "x", "thumb": "maybe"}, "thumb must be true or false, up or"),
    ({"prompt": "p", "response": "x", "spans": [{"start": 0, "end": 9}]}, "got 0 to 9"),
    ({"prompt": "p", "response": "x", "spans": [{"start": 0}]}, "whole numbers start and end"),
    ({"prompt": "p", "tokens": ["x"], "labels": []}, "one label per token, got 0 for 1"),
    ({"prompt": "p", "response_a": "x", "response_b": "y", "votes": []}, "at least one vote"),
    ({"prompt": "p", "response_a": "x", "response_b": "y", "winner": "c"}, "a, b or tie, got 'c'"),
    (
        {"prompt": "p", "responses": ["x", "y"], "preferences": [{"a": 0, "b": 2, "winner": "a"}]},
        "must name responses 0 to 1, got 2",
    ),
]


@pytest.mark.parametrize(("row", "message"), REFUSED)
def test_a_bad_row_is_named(row: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_preferences([row])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"prompt": "p"}\n{', "line 2 of .* is not JSON"),
        (b"[1]", r"row 1 must be an object, got \[1\]"),
        (b"\xff\xfe", "cannot read"),
        (b"\n\n", "must hold at least one row, got none"),
    ],
)
def test_bad_files(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_preferences(path)


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jsonl")
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "nothing")
    for path in (tmp_path, tmp_path / "pipe.jsonl", tmp_path / "link.jsonl", Path("/dev/zero")):
        with pytest.raises(ValueError, match="data must be an existing file"):
            read_preferences(path)
    (tmp_path / "rows.csv").write_text("a")
    with pytest.raises(ValueError, match=r"must be a \.jsonl, \.json"):
        read_preferences(tmp_path / "rows.csv")


def test_odd_rows_are_counted_once() -> None:
    rows = [
        PAIR,
        {**PAIR, "rejected": "  "},
        {**PAIR, "chosen": True},
        {**PAIR, "rejected": "good"},
        PAIR,
        {**PAIR, "chosen": "bad", "rejected": "good"},
        {**PAIR, "prompt": "q", "chosen_score": 1, "rejected_score": 2},
    ]
    with pytest.warns(UserWarning, match="data: ") as caught:
        data = read_preferences(rows)
    assert len(caught) == 1
    assert len(data) == 5
    assert sorted(data.notes) == [
        "1 of 7 rows that contradict an earlier row about the same two responses (row 6)",
        "1 of 7 rows that repeat an earlier comparison (row 5)",
        "1 of 7 rows whose chosen_score is below the rejected_score, as if the two were swapped "
        "(row 7)",
        "1 of 7 rows with two equal responses, which teach nothing (row 4)",
        "2 of 7 rows left out for a response that is empty or no text (rows 2, 3)",
    ]


@pytest.mark.filterwarnings("ignore:data. ")
def test_nothing_usable_says_why() -> None:
    with pytest.raises(ValueError, match=r"got none \(1 of 1 rows left out for a response"):
        read_preferences([{**PAIR, "chosen": ""}])


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), min_size=60))
def test_a_prompt_is_on_one_side_only(prompts: list[str]) -> None:
    records = tuple(
        Comparison(prompt=prompt, chosen=f"x{i}", rejected="y")
        for i, prompt in enumerate([*prompts, *map(str, range(100)), *prompts])
    )
    train, held_out = PreferenceData(records=records, kind="comparisons").split()
    assert len(train) + len(held_out) == len(records)
    assert not {r.prompt for r in train.records} & {r.prompt for r in held_out.records}


def test_the_split_never_changes() -> None:
    rows = [{**PAIR, "prompt": f"prompt {number}"} for number in range(40)]
    _, held_out = read_preferences(rows).split()
    # Where the first 16 hexadecimal digits of the prompt's SHA-256 are a multiple of ten.
    assert [record.prompt for record in held_out.records] == [
        "prompt 5",
        "prompt 26",
        "prompt 27",
        "prompt 31",
        "prompt 35",
    ]


def test_too_few_prompts_to_split() -> None:
    with pytest.raises(ValueError, match="enough prompts to set a tenth aside, got 1 different"):
        read_preferences([PAIR]).split()


def test_held_out_prompts_that_were_trained_on_are_left_out() -> None:
    train = read_preferences([PAIR])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        other = read_preferences([{**PAIR, "prompt": " P "}, {**PAIR, "prompt": "q"}])
        kept = other.without_prompts_of(train)
        assert [record.prompt for record in kept.records] == ["q"]
        assert kept.notes == ("1 of 2 held-out records left out: seen in training",)
        with pytest.raises(ValueError, match=r"got none \(1 of 1 held-out records left out"):
            read_preferences([PAIR]).without_prompts_of(train)
