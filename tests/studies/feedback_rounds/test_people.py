"""Rounds take what people said in a browser, and wait for it."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from studies.cli.commands.rounds import main
from studies.feedback_rounds import people
from studies.feedback_rounds.folder import RoundFolder
from studies.feedback_rounds.labels import (
    PAGE,
    LabelsMissing,
    page_command,
    read_labels,
    read_pairs,
    write_pairs,
)
from studies.feedback_rounds.pairs import Pair
from studies.labelling.folder import lock_folder, open_store
from studies.labelling.items import read_items
from studies.labelling.settings import Settings
from studies.labelling.store import LabelStore
from tests.studies.feedback_rounds.test_command import arguments, read
from tests.studies.labelling.made import judge

PAIRS = [Pair(prompt=f"p{n}", response_a=f"a{n}", response_b=f"b{n}") for n in range(3)]


@pytest.fixture
def folder(tmp_path: Path) -> RoundFolder:
    made = RoundFolder(out=tmp_path, number=1)
    made.path.mkdir()
    for path in (made.labels, made.pairs):
        write_pairs(path, PAIRS, [None] * len(PAIRS))
    return made


def open_page(folder: RoundFolder, annotators: int = 1) -> LabelStore:
    """What `scripts/label.py` does before it serves."""
    settings = Settings(data=folder.pairs, out=folder.path / PAGE, annotators_per_item=annotators)
    lock_folder(settings.out).lock.release()
    return open_store(settings, folder.pairs, read_items(folder.pairs, None))


def test_all_that_was_said_is_taken_at_once(folder: RoundFolder) -> None:
    assert not people.take_labels(folder)
    store = open_page(folder, annotators=2)
    for number, choices in enumerate((("a", "b"), ("b", "both_bad"), ("skip", "skip")), start=1):
        assert not people.take_labels(folder)
        for name, choice in zip(("Ada", "Bob"), choices, strict=True):
            judge(store, number, name, choice=choice)
    assert people.take_labels(folder)
    rows = [json.loads(line) for line in folder.labels.read_text().splitlines()]
    assert [row["preferred"] for row in rows] == [["a", "b"], ["b", "both_bad"], ["skip", "skip"]]
    labels = read_labels(folder.labels, PAIRS)
    assert [(label.chosen, label.votes.chosen, label.votes.tie) for label in labels] == [
        ("a0", 1.0, 0.0),
        ("b1", 1.0, 1.0),
    ]
    # What is changed in the page later does not change what was learned from.
    judge(store, 1, "Ada", choice="b")
    assert people.take_labels(folder)
    assert read_labels(folder.labels, PAIRS) == labels


def test_lines_that_were_filled_in_by_hand_stay(folder: RoundFolder) -> None:
    write_pairs(folder.labels, PAIRS, [("tie",), None, None])
    store = open_page(folder)
    for number in (1, 2, 3):
        judge(store, number, "Ada", choice="a")
    assert people.take_labels(folder)
    rows = [json.loads(line) for line in folder.labels.read_text().splitlines()]
    assert [row["preferred"] for row in rows] == ["tie", "a", "a"]


def test_a_page_of_other_pairs_is_refused(folder: RoundFolder) -> None:
    open_page(folder)
    other = [*PAIRS[:2], Pair(prompt="p", response_a="x", response_b="y")]
    for path in (folder.labels, folder.pairs):
        write_pairs(path, other, [None] * 3)
    with pytest.raises(ValueError, match=r"must hold labels of the 3 pairs of the round"):
        people.take_labels(folder)


def test_nothing_is_learned_where_all_was_skipped(folder: RoundFolder) -> None:
    write_pairs(folder.labels, PAIRS, [("skip",)] * 3)
    with pytest.raises(ValueError, match="must hold a pair that was not skipped"):
        read_labels(folder.labels, PAIRS)


def test_waiting_says_how_far_people_are(
    folder: RoundFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two looks somebody answers."""
    steps = iter([(1, "a"), (2, "b"), (3, "tie")])
    stores: list[LabelStore] = []

    def answer(_: float) -> None:
        if not stores:
            stores.append(open_page(folder))
            return
        number, choice = next(steps)
        judge(stores[0], number, "Ada", choice=choice)

    monkeypatch.setattr(people.time, "sleep", answer)
    printed = io.StringIO()
    people.wait_for_labels(folder, Console(file=printed, soft_wrap=True))
    lines = printed.getvalue().splitlines()
    assert lines[0] == f"to label in a browser, run in another window: {page_command(folder.path)}"
    assert lines[1:] == [
        *("0 of 3 labeled", "1 of 3 labeled", "2 of 3 labeled"),
        "all 3 pairs labeled",
    ]
    assert len(read_labels(folder.labels, PAIRS)) == 3


def test_waiting_can_be_interrupted_and_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = arguments(tmp_path / "run", labels="people", rounds=1, pairs_per_round=24)

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(people.time, "sleep", interrupt)
    assert main([*command, "--wait"]) == 130
    said = capsys.readouterr()
    assert "0 of 24 labeled" in said.out
    assert said.err.splitlines()[-1].startswith("rounds: interrupted; finished rounds are kept")
    folder = RoundFolder(out=tmp_path / "run", number=1)
    written = folder.pairs.read_bytes()
    # The same pairs wait for the next command.
    assert main(command) == 3
    assert "24 of 24 pairs wait for a label" in capsys.readouterr().err
    assert folder.pairs.read_bytes() == written


def test_without_labels_the_command_for_the_page_is_told(folder: RoundFolder) -> None:
    with pytest.raises(LabelsMissing) as missing:
        read_labels(folder.labels, PAIRS)
    command = f"python scripts/label.py --data {folder.pairs} --out {folder.path / 'labeling'}"
    assert command in str(missing.value)


@pytest.fixture
def annotator(tmp_path: Path) -> Iterator[Any]:
    """Somebody who labels the first round as soon as it is there."""
    ended = threading.Event()
    folder = RoundFolder(out=tmp_path / "run", number=1)

    def label() -> None:
        while not folder.pairs.exists():
            if ended.wait(0.05):
                return
        store = open_page(folder)
        for number in range(1, len(read_pairs(folder.pairs)) + 1):
            judge(store, number, "Ada", choice="ab"[number % 2])
        store.close()

    thread = threading.Thread(target=label)
    thread.start()
    yield
    ended.set()
    thread.join()


def test_a_round_goes_on_when_people_have_labeled(tmp_path: Path, annotator: Any) -> None:
    command = arguments(tmp_path / "run", labels="people", rounds=1, pairs_per_round=24)
    assert main([*command, "--wait"]) == 0
    [row] = read(tmp_path / "run" / "rounds.jsonl")
    assert row["pairs"] == 24
    labels = read(tmp_path / "run" / "round_1" / "labels.jsonl")
    assert [label["preferred"] for label in labels] == ["b", "a"] * 12
