"""The folder of some labels: opened for its page, or for reading.

::

labels.sqlite        items, annotators and every click; what counts
.lock                held while the page is open
comparisons.jsonl    and others: what `--export` writes
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from pathlib import Path

from filelock import AcquireReturnProxy, FileLock, Timeout

from rlhf_env.files import sha256
from studies.labelling.database import DATABASE, open_database
from studies.labelling.items import Item
from studies.labelling.settings import Settings
from studies.labelling.store import LabelStore, begin

TOKEN_BYTES = 24


def holds_labels(folder: Path) -> bool:
    """Return whether a folder has been labeled in."""
    return (folder / DATABASE).is_file()


def check_folder(folder: Path) -> None:
    """Refuse a folder with other things in it; nothing is made or changed.

    Raises:
        ValueError: with one of them.
    """
    others = [path.name for path in folder.glob("*") if not path.name.startswith(".")]
    if others and not holds_labels(folder):
        raise ValueError(
            f"--out must be empty or hold labels, got {str(folder)!r} with {min(others)} in it; "
            "name another folder"
        )


def lock_folder(folder: Path) -> AcquireReturnProxy:
    """Make a folder that only its owner can read, and hold it until the lock is left.

    Raises:
        ValueError: if its page is open already.
        OSError: if it cannot be made.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        return FileLock(folder / ".lock", mode=0o600).acquire(timeout=0)
    except Timeout:
        raise ValueError(
            f"--out must not be in use, got {str(folder)!r} whose page is open; use that one, or "
            "name another folder"
        ) from None


def open_store(settings: Settings, data: Path, items: Sequence[Item]) -> LabelStore:
    """Return the labels of a folder, for its page.

    Args:
        settings: asked for.
        data: what the items are made of.
        items: to begin with, where the folder holds none yet.

    Raises:
        ValueError: if the data cannot be used, or the folder holds labels of other data or
            settings.
    """
    asked = {
        "data": sha256(data),
        "ask": settings.ask or "",
        "annotators_per_item": str(settings.annotators_per_item),
        "scale": json.dumps(settings.scale),
        "error_types": json.dumps(settings.error_types),
        "seed": str(settings.seed),
    }
    if not holds_labels(settings.out):
        secret = {"token": secrets.token_urlsafe(TOKEN_BYTES), "run": secrets.token_hex(4)}
        begin(settings.out, items, asked | secret)
    store = LabelStore(open_database(settings.out, writing=True))
    try:
        _check_same(store.settings, asked, settings.out)
    except ValueError:
        store.close()
        raise
    return store


def _check_same(saved: dict[str, str], asked: dict[str, str], folder: Path) -> None:
    for name, value in asked.items():
        if saved.get(name) != value:
            got = (
                "another file"
                if name == "data"
                else f"{value or 'none'} instead of {saved.get(name) or 'none'}"
            )
            raise ValueError(
                f"--{name.replace('_', '-')} must be what {str(folder)!r} was begun with, got "
                f"{got}; give the same, or name another --out"
            )
