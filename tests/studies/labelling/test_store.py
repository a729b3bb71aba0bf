"""Clicks are kept once, and people do not get in each other's way."""

from __future__ import annotations

import stat
import threading
from pathlib import Path

import pytest

from studies.labelling import store as module
from studies.labelling.database import DATABASE, new_database, open_database
from studies.labelling.saved import SavedLabels
from studies.labelling.store import LabelStore
from tests.studies.labelling.made import judge, new_store, pairs


def test_a_form_that_is_sent_again_is_one_click(tmp_path: Path) -> None:
    store = new_store(tmp_path / "out", pairs(2))
    assert judge(store, 1, "Ada", form="f", choice="a") == "stored"
    again = store.record(1, "Ada", {"choice": "a"}, form="f", latest=0)
    assert again == "repeated"
    assert store.record(1, "Ada", {"choice": "b"}, form="f", latest=0) == "changed elsewhere"
    assert store.record(1, "Bob", {"choice": "a"}, form="f", latest=0) == "changed elsewhere"
    assert [click.answer for click in store.clicks()] == [{"choice": "a"}]


def test_another_tab_does_not_undo_a_later_click(tmp_path: Path) -> None:
    store = new_store(tmp_path / "out", pairs(2))
    judge(store, 1, "Ada", choice="a")
    stale = store.record(1, "Ada", {"choice": "b"}, form="other tab", latest=0)
    assert stale == "changed elsewhere"
    found = store.judgement(1, "Ada")
    assert found is not None
    assert found.answer == {"choice": "a"}


def test_changes_and_what_is_taken_back_stay_on_record(tmp_path: Path) -> None:
    store = new_store(tmp_path / "out", pairs(2))
    for choice in ("a", "b", "withdrawn"):
        assert judge(store, 1, "Ada", choice=choice) == "stored"
    assert store.judgements() == []
    assert [click.answer["choice"] for click in store.clicks()] == ["a", "b", "withdrawn"]
    assert store.ask_next("Ada") in (1, 2)
    judge(store, 1, "Ada", choice="tie")
    assert [click.answer["choice"] for click in store.judgements()] == ["tie"]


def test_the_last_judgement_is_found(tmp_path: Path) -> None:
    store = new_store(tmp_path / "out", pairs(3))
    for number in (2, 1, 3):
        judge(store, number, "Ada", choice="a")
    last = store.last_judged("Ada")
    assert last is not None
    assert last.item == 3
    before = store.last_judged("Ada", before=last.id)
    assert before is not None
    assert before.item == 1
    assert store.last_judged("Bob") is None


def test_two_people_never_have_one_item_unless_both_are_wanted(tmp_path: Path) -> None:
    store = new_store(tmp_path / "out", pairs(6))
    for name in ("Ada", "Bob"):
        store.join(name)
    given = [store.ask_next(name) for name in ("Ada", "Bob", "Ada", "Bob", "Ada", "Bob")]
    assert sorted(number or 0 for number in given) == [1, 2, 3, 4, 5, 6]
    # All are on a screen: each gets an own one again, nobody that of the other.
    assert store.ask_next("Ada") in given[::2]
    assert store.ask_next("Bob") in given[1::2]


def test_an_item_that_was_left_goes_to_others_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = new_store(tmp_path / "out", pairs(1))
    for name in ("Ada", "Bob"):
        store.join(name)
    assert store.ask_next("Ada") == 1
    assert store.ask_next("Bob") is None
    now = module.time.time()
    monkeypatch.setattr(module.time, "time", lambda: now + module.OPEN_SECONDS + 1)
    assert store.ask_next("Bob") == 1
    # Whoever answers late is not turned away.
    assert judge(store, 1, "Bob", choice="a") == judge(store, 1, "Ada", choice="b") == "stored"


def test_with_overlap_every_item_is_asked_of_as_many_as_wanted(tmp_path: Path) -> None:
    store = new_store(tmp_path / "out", pairs(5), annotators_per_item=2)
    names = ["Ada", "Bob", "Cy"]
    for name in names:
        store.join(name)
    waiting = list(names)
    while waiting:
        name = waiting.pop(0)
        number = store.ask_next(name)
        if number is not None:
            judge(store, number, name, choice="a")
            waiting.append(name)
    found = [(click.item, click.annotator) for click in store.judgements()]
    assert len(set(found)) == len(found) == 10
    assert sorted(number for number, _ in found) == sorted([1, 2, 3, 4, 5] * 2)


def test_a_reader_sees_what_is_written_at_the_same_time(tmp_path: Path) -> None:
    store = new_store(tmp_path / "out", pairs(200))
    seen: list[int] = []

    def read() -> None:
        labels = SavedLabels.reading(tmp_path / "out")
        while not seen or seen[-1] < 200:
            seen.append(len(labels.judgements()))
        labels.close()

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(1, 201):
        judge(store, number, "Ada", choice="a")
    reader.join(timeout=60)
    assert seen == sorted(seen)
    assert seen[-1] == 200


def test_what_was_read_before_is_not_read_again_and_nothing_is_missed(tmp_path: Path) -> None:
    store = new_store(tmp_path / "out", pairs(3))
    labels = SavedLabels.reading(tmp_path / "out")
    for number, choice in ((2, "a"), (1, "b"), (2, "tie"), (3, "a")):
        judge(store, number, "Ada", choice=choice)
        assert labels.clicks() == SavedLabels.reading(tmp_path / "out").clicks()
    assert [(click.item, click.answer["choice"]) for click in labels.judgements()] == [
        *((1, "b"), (2, "tie"), (3, "a")),
    ]


def test_only_the_owner_can_read_the_files(tmp_path: Path) -> None:
    store = new_store(tmp_path / "out", pairs(1))
    judge(store, 1, "Ada", choice="a")
    files = list((tmp_path / "out").glob("labels.sqlite*"))
    assert {path.name for path in files} >= {DATABASE, f"{DATABASE}-wal"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert store.connection.execute("PRAGMA synchronous").fetchone()[0] == 2


def test_reading_changes_nothing(tmp_path: Path) -> None:
    judge(new_store(tmp_path / "out", pairs(1)), 1, "Ada", choice="a")
    labels = SavedLabels.reading(tmp_path / "out")
    with pytest.raises(Exception, match="readonly"):
        LabelStore(labels.connection).join("Bob")


@pytest.mark.parametrize("content", [b"", b"not a database, whatever its name says" * 100])
def test_damaged_databases_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / DATABASE).write_bytes(content)
    with pytest.raises(ValueError, match=r"labels\.sqlite' must be"):
        open_database(tmp_path, writing=False)


def test_a_database_is_there_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(KeyError), new_database(tmp_path) as database:
        database.execute("INSERT INTO meta VALUES ('a', 'b')")
        assert not (tmp_path / DATABASE).exists()
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_labels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"must hold labels\.sqlite"):
        SavedLabels.reading(tmp_path)
