"""The database of a labelling folder: one SQLite file that survives kills and power cuts."""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rlhf_env.files import sync_folder

DATABASE = "labels.sqlite"
FORMAT = 1
PRIVATE = 0o600
BUSY_SECONDS = 10.0

# `clicks` is the record: rows are only ever added. `judgements` is what now holds of it.
SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE items (
    number INTEGER PRIMARY KEY, ask TEXT NOT NULL, prompt TEXT NOT NULL, responses TEXT NOT NULL
);
CREATE TABLE annotators (name TEXT PRIMARY KEY, joined REAL NOT NULL);
CREATE TABLE sessions (
    cookie TEXT PRIMARY KEY, csrf TEXT NOT NULL, annotator TEXT REFERENCES annotators (name)
);
CREATE TABLE open_items (
    item INTEGER NOT NULL REFERENCES items (number),
    annotator TEXT NOT NULL REFERENCES annotators (name),
    since REAL NOT NULL,
    renewed REAL NOT NULL,
    PRIMARY KEY (item, annotator)
);
CREATE TABLE clicks (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    form TEXT NOT NULL UNIQUE,
    item INTEGER NOT NULL REFERENCES items (number),
    annotator TEXT NOT NULL REFERENCES annotators (name),
    answer TEXT NOT NULL,
    shown TEXT NOT NULL,
    seconds REAL,
    at REAL NOT NULL
);
CREATE INDEX clicks_of ON clicks (annotator, item, id);
CREATE TABLE judgements (
    item INTEGER NOT NULL REFERENCES items (number),
    annotator TEXT NOT NULL REFERENCES annotators (name),
    click INTEGER NOT NULL REFERENCES clicks (id),
    PRIMARY KEY (item, annotator)
);
"""


def open_database(folder: Path, *, writing: bool) -> sqlite3.Connection:
    """Open a folder's database; every transaction is on the disk before it counts as done.

    Args:
        folder: an existing one.
        writing: as the one process that does; otherwise it is opened for reading only.

    Raises:
        ValueError: if there is none, or it is no database of this format.
    """
    path = folder / DATABASE
    if not path.is_file():
        raise ValueError(f"{str(folder)!r} must hold {DATABASE}, got a folder without; correct it")
    connection = _connection(path)
    try:
        if writing:
            # Readers go on while something is written.
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
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
def new_database(folder: Path) -> Iterator[sqlite3.Connection]:
    """Make a folder's database: it is there when what is done inside has ended well, or not at all.

    The folder must have none.
    """
    path = folder / f".{DATABASE}.{secrets.token_hex(8)}.partial"
    # SQLite gives its other files the permissions of this one.
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE))
    try:
        connection = _connection(path)
        try:
            connection.execute("PRAGMA synchronous = FULL")
            with transaction(connection):
                for statement in SCHEMA.split(";"):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {FORMAT}")
                yield connection
        finally:
            connection.close()
        os.replace(path, folder / DATABASE)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    sync_folder(folder)


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """Do all of what is inside or nothing; other processes wait."""
    connection.execute("BEGIN IMMEDIATE")
    with connection:
        yield connection


def _connection(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
    )
    connection.execute("PRAGMA foreign_keys = ON")
    return connection


def _check(connection: sqlite3.Connection, path: Path) -> None:
    found = connection.execute("PRAGMA user_version").fetchone()[0]
    if found != FORMAT:
        raise ValueError(
            f"{str(path)!r} must be of format {FORMAT}, got {found}; use the version that wrote it"
        )
