"""The real data are read with the counts that their own pages state."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlhf_env.rewards.evaluation import evaluate_scores
from rlhf_env.rewards.feedback.data import PreferenceData
from rlhf_env.rewards.feedback.files import read_preferences
from rlhf_env.rewards.feedback.records import MarkedResponse, Rating
from rlhf_env.rewards.metrics.pair import PairFigures

SHARED = Path(__file__).parents[4].parent / "shared/data"
# Repeated rows and empty responses are counted, and said.
pytestmark = [
    pytest.mark.skipif(not SHARED.is_dir(), reason="the real data are not here"),
    pytest.mark.filterwarnings("ignore:.* of .* rows:UserWarning"),
]


def read(name: str, kind: str | None = None, **fields: str) -> PreferenceData:
    return read_preferences(SHARED / f"{name}.jsonl.gz", kind=kind, fields=fields)


def test_hh_rlhf() -> None:
    data = read("hh_rlhf/test")
    assert (data.kind, len(data)) == ("comparisons", 832)
    found = evaluate_scores(lambda prompts, responses: [float(len(r)) for r in responses], data)
    assert isinstance(found, PairFigures)
    # "The chosen side is the longer one in 52 % of pairs", of train and test together.
    assert found.accuracy == found.longer_wins
    assert found.longer_wins.value == pytest.approx(0.52, abs=0.05)


def test_pandalm_votes() -> None:
    parts = [
        read(f"pandalm_votes/{part}", prompt="instruction+input") for part in ("train", "test")
    ]
    left_out = int(next(note for note in parts[0].notes if "empty" in note).split()[0])
    assert (len(parts[0]) + left_out, len(parts[1])) == (813, 186)
    votes = [pair.votes for part in parts for pair in part.pairs]
    assert {vote.total for vote in votes} == {3.0}
    united = [vote for vote in votes if 3.0 in (vote.chosen, vote.tie, vote.rejected)]
    assert 0 <= 879 - len(united) <= left_out


def test_sentiment_ratings() -> None:
    data = read("sentiment_ratings/test", prompt="", response="text", rating="mean")
    assert (data.kind, len(data)) == ("ratings", 1824)
    ratings = [record.rating for record in data.records if isinstance(record, Rating)]
    assert -4 <= min(ratings) < -3 < 3 < max(ratings) <= 4


def test_qa_feedback_comparisons() -> None:
    parts = [read(f"qa_feedback/{part}", prompt="question") for part in ("train", "test")]
    assert [len(part) for part in parts] == [392, 108]
    pairs = [pair for part in parts for pair in part.pairs]
    assert len(pairs) == 3000
    assert sum(pair.votes.tie for pair in pairs) == 384


def test_qa_feedback_marks() -> None:
    fields = {"prompt": "question", "response": "responses.0", "spans": "errors"}
    parts = [read(f"qa_feedback/{part}", "spans", **fields) for part in ("train", "test")]
    records = [r for part in parts for r in part.records if isinstance(r, MarkedResponse)]
    spans = [span for record in records for span in record.spans]
    assert (len(records), len(spans)) == (500, 1373)
    assert sum(span.type == "Irrelevant" for span in spans) == 909
    assert sum(span.type == "Wrong-Grounding" for span in spans) == 163


def test_llmbar() -> None:
    data = read("llmbar/test")
    assert (data.kind, len(data)) == ("comparisons", 419)
