"""Items, folders and pages that several tests use."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from studies.labelling.answers import Answering
from studies.labelling.folder import open_store
from studies.labelling.items import Item, read_items
from studies.labelling.settings import Settings
from studies.labelling.store import LabelStore

BOUNDS = Answering(scale=(1, 5), error_types=("error", "rude"))
ORIGIN = {"origin": "http://127.0.0.1"}


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def pairs(count: int) -> list[dict[str, str]]:
    return [
        {"prompt": f"question {n}", "response_a": f"first {n}", "response_b": f"second {n}"}
        for n in range(count)
    ]


def item(ask: str, *responses: str, number: int = 1) -> Item:
    return Item(number=number, ask=ask, prompt="question", responses=responses)


def new_store(folder: Path, rows: Iterable[Mapping[str, Any]], **changes: Any) -> LabelStore:
    folder.mkdir(parents=True, exist_ok=True)
    data = write_rows(folder.parent / f"{folder.name}.jsonl", rows)
    settings = Settings(data=data, out=folder, **changes)
    return open_store(settings, data, read_items(data, settings.ask))


def hidden(page: str, name: str) -> str:
    """The value of a hidden field, the first of that name."""
    found = re.search(rf'name="{name}" value="([^"]*)"', page)
    assert found is not None, f"no {name} in the page"
    return found[1]


def judge(store: LabelStore, number: int, annotator: str, form: str = "", **answer: Any) -> str:
    """Keep an answer of an annotator who is looking at an item now."""
    store.join(annotator)
    latest = store.latest(number, annotator)
    name = form or f"{number}-{annotator}-{latest}"
    return store.record(number, annotator, answer, form=name, latest=latest)


def refused(error: pytest.ExceptionInfo[ValueError]) -> str:
    """An error's sentence."""
    return str(error.value)
