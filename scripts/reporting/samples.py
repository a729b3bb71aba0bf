"""Example episodes for the report: tokens, and what each of them was paid.

``samples.jsonl`` holds one episode per line::

    {"run_id": "...", "stage": "after", "prompt": "...", "tokens": ["Good", " soup"],
     "reward_terms": {"score": [0.0, 1.2], "kl": [-0.1, -0.3]}, "score": 1.2}

"gold" (a number), "values" and "advantages" (one number per token) may be there too.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MAX_SHOWN = 24
MAX_TOKENS = 400
MAX_CHARACTERS = 4000
SHADES = 5


@dataclass(frozen=True, kw_only=True)
class Token:
    """One token as it is shown.

    Attributes:
        text: printable.
        numbers: its reward terms and other numbers, for the pointer to show.
        shade: name of its colour: "p1" to "p5" for gains, "n1" to "n5" for losses, "z" for 0.
    """

    text: str
    numbers: str
    shade: str


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One episode as it is shown.

    Attributes:
        title: run and stage.
        prompt: printable.
        tokens: of the response.
        summary: score, gold and sums of the reward terms.
    """

    title: str
    prompt: str
    tokens: list[Token]
    summary: str


@dataclass(frozen=True, kw_only=True)
class Samples:
    """What is shown of a file.

    Attributes:
        shown: the first episodes.
        total: how many the file holds.
        unreadable: lines that are not episodes.
    """

    shown: list[Sample]
    total: int
    unreadable: int


def read_samples(path: Path) -> Samples:
    """Read example episodes; a missing file holds none, and a line that is none is counted."""
    shown: list[Sample] = []
    total = unreadable = 0
    if not path.exists():
        return Samples(shown=[], total=0, unreadable=0)
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in filter(str.strip, lines):
            total += 1
            try:
                if len(shown) < MAX_SHOWN:
                    shown.append(as_sample(json.loads(line)))
            except (ValueError, TypeError, KeyError, AttributeError):
                unreadable += 1
    return Samples(shown=shown, total=total, unreadable=unreadable)


def as_sample(fields: Mapping[str, Any]) -> Sample:
    """Return an episode as it is shown.

    Raises:
        ValueError: if its vectors do not have one number per token.
        KeyError, TypeError: if fields are missing or of another kind.
    """
    texts = [str(text) for text in fields["tokens"]]
    terms = {str(name): _vector(row, len(texts)) for name, row in fields["reward_terms"].items()}
    extra = ("values", "advantages")
    others = {name: _vector(fields[name], len(texts)) for name in extra if fields.get(name)}
    paid = [sum(row[i] for row in terms.values()) for i in range(len(texts))]
    largest = max(map(abs, paid), default=0.0)
    tokens = [
        Token(
            text=printable(text),
            numbers=_numbers({name: row[i] for name, row in {**terms, **others}.items()}),
            shade=shade(paid[i], largest),
        )
        for i, text in enumerate(texts[:MAX_TOKENS])
    ]
    if len(texts) > MAX_TOKENS:
        tokens.append(Token(text=f" … {len(texts) - MAX_TOKENS} more", numbers="", shade="z"))
    totals = {
        name: float(fields[name]) for name in ("score", "gold") if fields.get(name) is not None
    }
    # A score that is paid as it is adds up to itself.
    sums = {
        f"sum of {name}": total
        for name, total in ((name, sum(row)) for name, row in terms.items())
        if name not in totals or not math.isclose(total, totals[name], abs_tol=1e-4)
    }
    return Sample(
        title=printable(f"{fields.get('run_id', '')} {fields.get('stage', '')}".strip()),
        prompt=printable(str(fields.get("prompt", ""))),
        tokens=tokens,
        summary=_numbers(totals | sums),
    )


def shade(paid: float, largest: float) -> str:
    """Return the colour of what a token was paid, relative to the episode's largest amount."""
    if largest == 0.0 or not math.isfinite(paid):
        return "z"
    level = math.ceil(SHADES * min(1.0, abs(paid) / largest))
    return "z" if level == 0 else f"{'p' if paid > 0 else 'n'}{level}"


def printable(text: str) -> str:
    """Return a text without control characters, and not longer than is readable."""
    cut = text if len(text) <= MAX_CHARACTERS else f"{text[:MAX_CHARACTERS]} …"
    return "".join(c if c.isprintable() or c == "\n" else f"\\x{ord(c):02x}" for c in cut)


def _vector(row: Any, length: int) -> list[float]:
    numbers = [math.nan if value is None else float(value) for value in row]
    if len(numbers) != length:
        raise ValueError(f"a vector must have one number per token = {length}, got {len(numbers)}")
    return numbers


def _numbers(named: Mapping[str, float]) -> str:
    return ", ".join(f"{printable(name)} {value:+.3f}" for name, value in named.items())
