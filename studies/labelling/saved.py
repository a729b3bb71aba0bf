"""What a labelling folder holds, for those who only read it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rlhf_env.files import parse_json
from studies.labelling.answers import SKIP, Answer
from studies.labelling.database import open_database
from studies.labelling.items import Item

_JUDGEMENTS = "SELECT c.* FROM judgements j JOIN clicks c ON c.id = j.click"


@dataclass(frozen=True, kw_only=True)
class Click:
    """One press of a button."""

    id: int
    """In the order in which they came."""
    item: int
    """Number of the item."""
    annotator: str
    """Who."""
    answer: Answer
    """What was said."""
    shown: list[int]
    """[K] which response was at each place."""
    seconds: float | None
    """From showing the item to the click."""
    at: float
    """Seconds since 1970."""


class SavedLabels:
    """The items and clicks of a folder."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Use a database of `open_database`."""
        self.connection = connection
        self._items: list[Item] = []
        self._clicks: dict[int, Click] = {}
        self.settings: dict[str, str] = dict(
            connection.execute("SELECT name, value FROM meta").fetchall()
        )

    @classmethod
    def reading(cls, folder: Path) -> SavedLabels:
        """Open a folder for reading, whether or not its page is open.

        Raises:
            ValueError: if it holds no labels.
        """
        return cls(open_database(folder, writing=False))

    def close(self) -> None:
        """Close the database."""
        self.connection.close()

    @property
    def seed(self) -> int:
        """Of orders and sides."""
        return int(self.settings["seed"])

    @property
    def annotators_per_item(self) -> int:
        """How many answers an item needs."""
        return int(self.settings["annotators_per_item"])

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Let all that is read inside be of one moment."""
        self.connection.execute("BEGIN")
        try:
            yield
        finally:
            self.connection.execute("ROLLBACK")

    def items(self) -> list[Item]:
        """Return all items."""
        # They never change.
        if not self._items:
            rows = self.connection.execute("SELECT * FROM items ORDER BY number")
            self._items = [_item(row) for row in rows]
        return self._items

    def item(self, number: int) -> Item | None:
        """Return an item; None if there is no such."""
        found = self.connection.execute("SELECT * FROM items WHERE number = ?", (number,))
        row = found.fetchone()
        return None if row is None else _item(row)

    def annotators(self) -> list[str]:
        """Return all names, the first who joined first."""
        found = self.connection.execute("SELECT name FROM annotators ORDER BY joined, name")
        return [name for (name,) in found]

    def latest(self, number: int, annotator: str) -> int:
        """Return the id of an annotator's last click on an item; 0 if there is none."""
        found = self.connection.execute(
            "SELECT max(id) FROM clicks WHERE item = ? AND annotator = ?", (number, annotator)
        )
        return found.fetchone()[0] or 0

    def last_judged(self, annotator: str, before: int | None = None) -> Click | None:
        """Return what an annotator said last, or last before another click."""
        found = self.connection.execute(
            f"{_JUDGEMENTS} WHERE j.annotator = ? AND (? IS NULL OR c.id < ?) "
            "ORDER BY c.id DESC LIMIT 1",
            (annotator, before, before),
        )
        row = found.fetchone()
        return None if row is None else _click(row)

    def judgement(self, number: int, annotator: str) -> Click | None:
        """Return what an annotator holds of an item; None if nothing was said."""
        found = self.connection.execute(
            f"{_JUDGEMENTS} WHERE j.item = ? AND j.annotator = ?",
            (number, annotator),
        )
        row = found.fetchone()
        return None if row is None else _click(row)

    def judgements(self) -> list[Click]:
        """Return what now holds: one click per item and annotator, skips too, by item."""
        held = self.connection.execute("SELECT click FROM judgements ORDER BY item, click")
        numbers = [number for (number,) in held]
        self._read_clicks()
        return [self._clicks[number] for number in numbers]

    def clicks(self) -> list[Click]:
        """Return every click, also those that later ones replaced."""
        self._read_clicks()
        return list(self._clicks.values())

    def last_click(self) -> int:
        """Return the id of the last click of all; 0 if there is none."""
        return self.connection.execute("SELECT max(id) FROM clicks").fetchone()[0] or 0

    def _read_clicks(self) -> None:
        """Read the clicks that came since; none ever changes."""
        known = next(reversed(self._clicks), 0)
        found = self.connection.execute("SELECT * FROM clicks WHERE id > ? ORDER BY id", (known,))
        self._clicks.update((click.id, click) for click in map(_click, found))


def is_vote(click: Click) -> bool:
    """Return whether a judgement says something: it is no skip."""
    return click.answer["choice"] != SKIP


def _item(row: Sequence[str | int]) -> Item:
    number, ask, prompt, responses = row
    asked = parse_json(str(prompt))
    return Item(
        number=int(number),
        ask=str(ask),
        prompt=tuple(asked) if isinstance(asked, list) else asked,
        responses=tuple(parse_json(str(responses))),
    )


def _click(row: Sequence[str | int | float]) -> Click:
    id_, _, item, annotator, answer, shown, seconds, at = row
    return Click(
        id=int(id_),
        item=int(item),
        annotator=str(annotator),
        answer=parse_json(str(answer)),
        shown=parse_json(str(shown)),
        seconds=None if seconds is None else float(seconds),
        at=float(at),
    )
