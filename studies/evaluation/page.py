"""A comparison as one HTML page that loads and runs nothing."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from studies.reporting.samples import printable

TEMPLATES = Path(__file__).parent / "templates"
MAX_PAIRS = 50


def as_html(
    names: Mapping[str, str],
    verdict: str,
    rows: Sequence[tuple[str, str, str, str]],
    pairs: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]],
) -> str:
    """Return the page; every text in it is escaped, and it may load and run nothing.

    Args:
        names: of "first", "second" and "task".
        verdict: which agent wins, as a sentence.
        rows: measure, first, second and difference.
        pairs: both responses to each prompt; the first `MAX_PAIRS` are shown.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["printable"] = printable
    style = (TEMPLATES / "comparison.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return environment.get_template("comparison.html").render(
        names=names,
        verdict=verdict,
        rows=rows,
        pairs=pairs[:MAX_PAIRS],
        total=len(pairs),
        style=Markup(style),
        style_hash=f"sha256-{digest}",
    )
