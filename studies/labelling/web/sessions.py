"""Who is at a browser: the token in the address, then a cookie."""

from __future__ import annotations

import secrets
import unicodedata
from dataclasses import dataclass

from studies.labelling.saved import SavedLabels

TOKEN_BYTES = 24
MAX_NAME = 40


@dataclass(frozen=True, kw_only=True)
class Session:
    """One browser."""

    cookie: str
    """What it holds; a secret."""
    csrf: str
    """What its forms hold; another."""
    annotator: str | None
    """Who sits there; None until a name is given."""


class Sessions:
    """The browsers that have seen the token; kept in the database, so a restart loses none."""

    def __init__(self, labels: SavedLabels) -> None:
        """Use the database of a folder."""
        self._database = labels.connection
        self._token = labels.settings["token"]
        # Cookies do not tell ports apart: two pages on one machine need two names.
        self.cookie_name = f"label-{labels.settings['run']}"

    def is_token(self, said: str) -> bool:
        """Return whether this is the token of the address."""
        return secrets.compare_digest(said.encode(), self._token.encode())

    def begin(self) -> Session:
        """Return a new session."""
        cookie, csrf = secrets.token_urlsafe(TOKEN_BYTES), secrets.token_urlsafe(TOKEN_BYTES)
        self._database.execute("INSERT INTO sessions VALUES (?, ?, NULL)", (cookie, csrf))
        return Session(cookie=cookie, csrf=csrf, annotator=None)

    def find(self, cookie: str | None) -> Session | None:
        """Return the session of a cookie; None if there is none."""
        found = self._database.execute(
            "SELECT csrf, annotator FROM sessions WHERE cookie = ?", (cookie,)
        ).fetchone()
        if cookie is None or found is None:
            return None
        return Session(cookie=cookie, csrf=found[0], annotator=found[1])

    def name(self, session: Session, annotator: str) -> None:
        """Say who sits at a browser; the annotator must have joined."""
        self._database.execute(
            "UPDATE sessions SET annotator = ? WHERE cookie = ?", (annotator, session.cookie)
        )


def checked_name(said: str) -> str:
    """Return an annotator's name without what cannot be seen at its ends.

    Raises:
        ValueError: if it is empty, too long, or holds what cannot be printed.
    """
    name = " ".join(unicodedata.normalize("NFC", said).split())
    if not name:
        raise ValueError("Please give a name.")
    if len(name) > MAX_NAME or not name.isprintable():
        raise ValueError(f"Please give a name of at most {MAX_NAME} printable characters.")
    return name
