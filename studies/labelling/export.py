"""What people said, in the formats that reward training, DPO and rounds read."""

from __future__ import annotations

import io
import json
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rlhf_env.files import write_atomically
from studies.labelling.answers import BOTH_BAD, GOOD, TIE
from studies.labelling.database import PRIVATE
from studies.labelling.items import Item
from studies.labelling.progress import progress_of
from studies.labelling.saved import Click, SavedLabels, is_vote

CLICKS, SUMMARY = "clicks.jsonl", "summary.json"
# The names that `rlhf_env.rewards.read_preferences` has for kinds.
FILES = {
    "compare": "comparisons.jsonl",
    "rank": "rankings.jsonl",
    "thumbs": "thumbs.jsonl",
    "rate": "ratings.jsonl",
    "mark": "spans.jsonl",
}

Row = Mapping[str, Any]


def exported(labels: SavedLabels) -> dict[str, bytes]:
    """Return the files by name: one per kind of question that was answered, and what is in all.

    ``comparisons.jsonl`` has a row per pair with all its votes; the others have a row per
    judgement. Skips are in no file but ``clicks.jsonl``, which has every click once, and says
    which still hold. ``summary.json`` has counts and agreement.
    """
    with labels.snapshot():
        items, judgements, clicks = labels.items(), labels.judgements(), labels.clicks()
        summary = _summary(labels)
    votes: dict[int, list[Click]] = defaultdict(list)
    for click in judgements:
        if is_vote(click):
            votes[click.item].append(click)
    rows: dict[str, list[Row]] = defaultdict(list)
    for item in items:
        rows[FILES[item.ask]] += item_rows(item, votes[item.number])
    asked = {item.number: item for item in items}
    held = {click.id for click in judgements}
    rows[CLICKS] = [
        {
            "click": click.id,
            "item": click.item,
            "ask": asked[click.item].ask,
            "annotator": click.annotator,
            **click.answer,
            "shown": click.shown,
            "seconds": click.seconds,
            "at": click.at,
            "holds": click.id in held,
        }
        for click in clicks
    ]
    files = {name: _lines(found) for name, found in rows.items() if found or name == CLICKS}
    return files | {SUMMARY: (json.dumps(summary, indent=2) + "\n").encode()}


def write_export(labels: SavedLabels, folder: Path) -> list[Path]:
    """Write the files into an existing folder, readable for its owner only; return their paths."""
    paths = []
    for name, content in exported(labels).items():
        write_atomically(folder / name, content, PRIVATE)
        paths.append(folder / name)
    return paths


def zipped(files: Mapping[str, bytes]) -> bytes:
    """Return files as one archive."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return content.getvalue()


def item_rows(item: Item, votes: Sequence[Click]) -> list[Row]:
    """Return the rows of an item, given the judgements that are no skips."""
    if not votes:
        return []
    prompt: dict[str, Any] = {"prompt": item.prompt}
    if item.ask == "compare":
        sides = dict(zip(("response_a", "response_b"), item.responses, strict=True))
        choices = [click.answer["choice"] for click in votes]
        said: dict[str, Any] = {
            "votes": [vote_of(choice) for choice in choices],
            "annotators": [click.annotator for click in votes],
            BOTH_BAD: choices.count(BOTH_BAD),
        }
        row: Row = {**prompt, **sides, **said, "item": item.number}
        return [row]
    return [
        {
            **prompt,
            **_judged(item, click),
            "annotator": click.annotator,
            "item": item.number,
        }
        for click in votes
    ]


def vote_of(choice: str) -> str:
    """Return a choice between two as a vote for a, b or tie: both bad is a tie."""
    return TIE if choice == BOTH_BAD else choice


def _judged(item: Item, click: Click) -> Row:
    answer = click.answer
    if item.ask == "rank":
        return {
            "responses": item.responses,
            "ranking": answer["ranking"],
            "all_bad": answer["choice"] == BOTH_BAD,
        }
    response = {"response": item.responses[0]}
    if item.ask == "thumbs":
        return {**response, "thumb": answer["choice"]}
    if item.ask == "rate":
        return {**response, "rating": answer["rating"]}
    wrong, good = (
        [span for span in answer["spans"] if (span["type"] == GOOD) is wanted]
        for wanted in (False, True)
    )
    return {**response, "spans": wrong, "good_spans": good}


def _summary(labels: SavedLabels) -> dict[str, Any]:
    progress = progress_of(labels)
    return {
        "items": progress.items,
        "done": progress.done,
        "annotators_per_item": labels.annotators_per_item,
        "annotators": {
            name: {"answers": count, "skipped": progress.skipped.get(name, 0)}
            for name, count in progress.own.items()
        },
        "krippendorff_alpha": {
            found.ask: {"alpha": found.alpha, "items": found.items} for found in progress.agreement
        },
        "cohen_kappa": {
            found.ask: found.kappa for found in progress.agreement if found.kappa is not None
        },
    }


def _lines(rows: Iterable[Row]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
