"""The database of a labelling folder: one SQLite file that survives kills and power cuts."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

DATABASE = "labels.sqlite"
FORMAT = 1
PRIVATE = 0o600
BUSY_SECONDS = 10.0

# `clicks` is the record: rows are only ever added. `judgements` is what now holds of it.
SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS items (
    number INTEGER PRIMARY KEY, ask TEXT NOT NULL, prompt TEXT NOT NULL, responses TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS annotators (name TEXT PRIMARY KEY, joined REAL NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS sessions (
    cookie TEXT PRIMARY KEY, csrf TEXT NOT NULL, annotator TEXT REFERENCES annotators (name)
) STRICT;
CREATE TABLE IF NOT EXISTS open_items (
    item INTEGER NOT NULL REFERENCES items (number),
    annotator TEXT NOT NULL REFERENCES annotators (name),
    since REAL NOT NULL,
    renewed REAL NOT NULL,
    PRIMARY KEY (item, annotator)
) STRICT;
CREATE TABLE IF NOT EXISTS clicks (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    form TEXT NOT NULL UNIQUE,
    item INTEGER NOT NULL REFERENCES items (number),
    annotator TEXT NOT NULL REFERENCES annotators (name),
    answer TEXT NOT NULL,
    shown TEXT NOT NULL,
    seconds REAL,
    at REAL NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS clicks_of ON clicks (annotator, item, id);
CREATE TABLE IF NOT EXISTS judgements (
    item INTEGER NOT NULL REFERENCES items (number),
    annotator TEXT NOT NULL REFERENCES annotators (name),
    click INTEGER NOT NULL REFERENCES clicks (id),
    PRIMARY KEY (item, annotator)
) STRICT;
"""


def open_database(folder: Path, *, create: bool) -> sqlite3.Connection:
    """Open a folder's database; every transaction is on the disk before it counts as done.

    Args:
        folder: an existing one.
        create: make the database if there is none; otherwise it is opened for reading only.

    Raises:
        ValueError: if there is none and none is made, or it is no database of this format.
    """
    path = folder / DATABASE
    if create:
        # SQLite gives its other files the permissions of this one.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, PRIVATE))
    elif not path.is_file():
        raise ValueError(f"{str(folder)!r} must hold {DATABASE}, got a folder without; correct it")
    connection = sqlite3.connect(
        path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
    )
    try:
        connection.execute("PRAGMA foreign_keys = ON")
        if create:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            _make(connection)
        else:
            connection.execute("PRAGMA query_only = ON")
        _check(connection, path)
    except sqlite3.DatabaseError as error:
        connection.close()
        raise ValueError(
            f"{str(path)!r} must be what this command wrote, got: {error}; put it back from a copy"
        ) from error
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """Do all of what is inside or nothing; other processes wait."""
    connection.execute("BEGIN IMMEDIATE")
    with connection:
        yield connection


def _make(connection: sqlite3.Connection) -> None:
    with transaction(connection):
        if connection.execute("PRAGMA user_version").fetchone()[0] == 0:
            for statement in SCHEMA.split(";"):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {FORMAT}")


def _check(connection: sqlite3.Connection, path: Path) -> None:
    found = connection.execute("PRAGMA user_version").fetchone()[0]
    if found != FORMAT:
        raise ValueError(
            f"{str(path)!r} must be of format {FORMAT}, got {found}; use the version that wrote it"
        )
