from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from rlhf_env.rewards.feedback.spans import ERROR_TYPES, span_token_labels
from tests.toys import tiny_tokenizer

SHARED = Path(__file__).parents[4].parent / "shared/data"
TOKENIZER = tiny_tokenizer(8)


def span(start: int, end: int, kind: str = "Redundant") -> dict:
    return {"start": start, "end": end, "type": kind}


def test_a_token_that_a_span_touches_is_marked() -> None:
    # Characters 0-1, 3-4, 6-7, 9-10.
    text = "w2 w3 w4 w5"
    assert span_token_labels(text, [span(3, 8)], TOKENIZER).tolist() == [0, 2, 2, 0]
    assert span_token_labels(text, [span(4, 5)], TOKENIZER).tolist() == [0, 2, 0, 0]
    assert span_token_labels(text, [span(2, 3)], TOKENIZER).tolist() == [0, 0, 0, 0]
    assert span_token_labels(text, [], TOKENIZER).tolist() == [0, 0, 0, 0]
    assert span_token_labels("", [], TOKENIZER).tolist() == []


def test_the_span_that_covers_most_of_a_token_names_it() -> None:
    spans = [span(0, 1, "Irrelevant"), span(0, 2, "Incoherent"), span(0, 2, "Unverifiable")]
    assert span_token_labels("w2 w3", spans, TOKENIZER).tolist() == [3, 0]


def test_other_types_can_be_named() -> None:
    labels = span_token_labels("w2 w3", [span(0, 2, "b")], TOKENIZER, types=("a", "b"))
    assert labels.tolist() == [2, 0]


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (span(0, 9), "text of 5 characters with start < end, got 0 to 9"),
        (span(-1, 2), "got -1 to 2"),
        (span(2, 2), "got 2 to 2"),
        (span(0, 2, "Boring"), "span type must be one of .* got 'Boring'"),
    ],
)
def test_a_span_that_cannot_be_is_refused(bad: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        span_token_labels("w2 w3", [bad], TOKENIZER)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real data is not here")
@pytest.mark.parametrize("folder", ["gpt2_tokenizer", "stories260k"])
def test_every_human_span_marks_tokens_that_cover_it(folder: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(SHARED / folder)
    with gzip.open(SHARED / "qa_feedback/test.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    num_spans = 0
    for row in rows:
        text = row["responses"][0]
        for error in row["errors"]:
            labels = span_token_labels(text, [error], tokenizer)
            encoded = tokenizer(text, return_offsets_mapping=True, add_special_tokens=False)
            marked = [
                offset
                for offset, label in zip(encoded["offset_mapping"], labels.tolist(), strict=True)
                if label == ERROR_TYPES.index(error["type"]) + 1
            ]
            said = text[error["start"] : error["end"]].strip()
            assert said in text[marked[0][0] : marked[-1][1]]
            num_spans += 1
    assert num_spans > 200
