"""What is asked next, and clicks: all that writes to the database while the page is open."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from studies.labelling.answers import WITHDRAWN, Answer
from studies.labelling.assignment import Taken, next_number, own_order, sides
from studies.labelling.database import new_database, transaction
from studies.labelling.items import Item
from studies.labelling.saved import SavedLabels

# An item on a screen is kept for its annotator for so long, then others may be asked too.
OPEN_SECONDS = 15 * 60.0

Outcome = Literal["stored", "repeated", "changed elsewhere"]


class LabelStore(SavedLabels):
    """A folder whose page is open: items are asked and clicks are kept."""

    def join(self, annotator: str) -> None:
        """Remember an annotator."""
        self.connection.execute(
            "INSERT OR IGNORE INTO annotators VALUES (?, ?)", (annotator, time.time())
        )

    def ask_next(self, annotator: str) -> int | None:
        """Choose an annotator's next item, and keep it for them; None if there is none now."""
        now = time.time()
        with transaction(self.connection) as database:
            numbers = [item.number for item in self.items()]
            number = next_number(
                own_order(numbers, self.seed, annotator),
                self._taken(annotator, now),
                self.annotators_per_item,
            )
            if number is not None:
                _keep_open(database, number, annotator, now)
        return number

    def show(self, number: int, annotator: str) -> list[int]:
        """Keep an item that is shown for its annotator, and return which response goes where."""
        item = self.item(number)
        if item is None:
            raise ValueError(f"there must be an item {number}, got none")
        with transaction(self.connection) as database:
            _keep_open(database, number, annotator, time.time())
        return sides(len(item.responses), self.seed, annotator, number)

    def record(
        self, number: int, annotator: str, answer: Answer, *, form: str, latest: int
    ) -> Outcome:
        """Keep a click, once.

        Args:
            number: of the item.
            annotator: who.
            answer: what was said.
            form: of the page; a page that is sent again is one click.
            latest: id of the annotator's last click on this item when the page was shown; 0 if
                there was none. The click is not kept if there is another since.
        """
        item = self.item(number)
        if item is None:
            raise ValueError(f"there must be an item {number}, got none")
        shown = sides(len(item.responses), self.seed, annotator, number)
        said, now = json.dumps(answer), time.time()
        with transaction(self.connection) as database:
            before = database.execute(
                "SELECT item, annotator, answer FROM clicks WHERE form = ?", (form,)
            ).fetchone()
            if before is not None:
                is_same = before == (number, annotator, said)
                return "repeated" if is_same else "changed elsewhere"
            if self.latest(number, annotator) != latest:
                return "changed elsewhere"
            since = database.execute(
                "SELECT since FROM open_items WHERE item = ? AND annotator = ?", (number, annotator)
            ).fetchone()
            seconds = None if since is None else round(max(0.0, now - since[0]), 2)
            click = database.execute(
                "INSERT INTO clicks (form, item, annotator, answer, shown, seconds, at) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                (form, number, annotator, said, json.dumps(shown), seconds, now),
            ).lastrowid
            if answer["choice"] == WITHDRAWN:
                database.execute(
                    "DELETE FROM judgements WHERE item = ? AND annotator = ?", (number, annotator)
                )
            else:
                database.execute(
                    "INSERT OR REPLACE INTO judgements VALUES (?, ?, ?)", (number, annotator, click)
                )
            database.execute(
                "DELETE FROM open_items WHERE item = ? AND annotator = ?", (number, annotator)
            )
        return "stored"

    def _taken(self, annotator: str, now: float) -> Taken:
        database = self.connection
        judged = database.execute("SELECT item, count(*) FROM judgements GROUP BY item")
        own = database.execute("SELECT item FROM judgements WHERE annotator = ?", (annotator,))
        still_open = database.execute(
            "SELECT item, annotator FROM open_items o WHERE renewed > ? AND NOT EXISTS "
            "(SELECT 1 FROM judgements j WHERE j.item = o.item AND j.annotator = o.annotator)",
            (now - OPEN_SECONDS,),
        ).fetchall()
        elsewhere: dict[int, int] = {}
        for number, name in still_open:
            if name != annotator:
                elsewhere[number] = elsewhere.get(number, 0) + 1
        return Taken(
            judged=dict(judged.fetchall()),
            open_elsewhere=elsewhere,
            own=frozenset(number for (number,) in own),
            own_open=frozenset(number for number, name in still_open if name == annotator),
        )


def begin(folder: Path, items: Sequence[Item], settings: Mapping[str, str]) -> None:
    """Make the database of a folder that has none, with its items and settings."""
    rows = [
        (item.number, item.ask, json.dumps(item.prompt), json.dumps(item.responses))
        for item in items
    ]
    with new_database(folder) as database:
        database.executemany("INSERT INTO items VALUES (?, ?, ?, ?)", rows)
        database.executemany("INSERT INTO meta VALUES (?, ?)", settings.items())


def _keep_open(database: sqlite3.Connection, number: int, annotator: str, now: float) -> None:
    database.execute(
        "INSERT INTO open_items VALUES (?, ?, ?, ?) "
        "ON CONFLICT (item, annotator) DO UPDATE SET renewed = excluded.renewed",
        (number, annotator, now, now),
    )
