"""Pages from templates; every text in them is escaped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from studies.labelling.answers import in_words, letter

FOLDER = Path(__file__).parents[1]
TEMPLATES, STATIC = FOLDER / "templates", FOLDER / "static"
# What a page in UTF-8 cannot hold is shown as this.
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def as_written(text: str) -> Markup:
    """Return a text so that a browser has as many characters of it as Python.

    Marked spans are counted in them: line ends stay as they are, and what HTML leaves out is
    replaced one by one.
    """
    safe = str(escape(text.replace("\0", REPLACEMENT)))
    return Markup(safe.replace("\r", "&#13;"))


def environment() -> jinja2.Environment:
    """Return the templates with what they use."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Any] = {"as_written": as_written, "letter": letter, "in_words": in_words}
    made.filters.update(filters)
    return made
