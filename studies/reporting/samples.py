"""Example episodes for the report: tokens, and the reward, value and advantage of each.

``samples.jsonl`` holds one episode per line::

    {"run_id": "...", "stage": "after", "prompt": "...", "tokens": ["Good", " soup"],
     "reward_terms": {"score": [0.0, 1.2], "kl": [-0.1, -0.3]}, "score": 1.2}

"gold" (a number), and "kl" (nats), "values" and "advantages" (one number per token) may be there
too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlhf_env.files import parse_json

MAX_SHOWN = 24
MAX_TOKENS = 400
MAX_CHARACTERS = 4000
MAX_TOKEN_CHARACTERS = 200
SHADES = 5
KL = "kl"
# What tokens can be colored by -> what the page calls it.
VIEWS = {"score": "score", KL: "KL", "values": "value", "advantages": "advantage"}
PER_TOKEN = (KL, "values", "advantages")


@dataclass(frozen=True, kw_only=True)
class Token:
    """One token as it is shown."""

    text: str
    """Printable."""
    numbers: str
    """Its reward terms and other numbers."""
    shades: dict[str, str]
    """View -> name of its color: "p1" to "p5" for gains, "n1" to "n5" for losses, "z" for 0."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One episode as it is shown."""

    title: str
    """Run and stage."""
    prompt: str
    """Printable."""
    tokens: list[Token]
    """Of the response."""
    summary: str
    """Score, gold and sums of the reward terms."""


@dataclass(frozen=True, kw_only=True)
class Samples:
    """What is shown of a file."""

    shown: list[Sample]
    """Episodes from all over the file, two that follow each other at a time."""
    total: int
    """How many lines the file holds."""
    unreadable: int
    """Those among the chosen that are not episodes."""

    @property
    def views(self) -> list[str]:
        """What the tokens of any of them can be colored by."""
        known = {name for one in self.shown for token in one.tokens for name in token.shades}
        return [name for name in VIEWS if name in known]


def read_samples(path: Path) -> Samples:
    """Read example episodes; a missing file holds none, and invalid lines are counted."""
    if not path.exists():
        return Samples(shown=[], total=0, unreadable=0)
    total = sum(1 for _ in _lines(path))
    chosen = spread(total)
    shown: list[Sample] = []
    unreadable = 0
    for number, line in enumerate(_lines(path)):
        if number in chosen:
            try:
                shown.append(as_sample(parse_json(line)))
            except (ValueError, TypeError, KeyError, AttributeError):
                unreadable += 1
    return Samples(shown=shown, total=total, unreadable=unreadable)


def spread(total: int) -> set[int]:
    """Return which lines are shown: pairs (before and after training) from all over the file."""
    pairs = math.ceil(total / 2)
    shown = min(pairs, MAX_SHOWN // 2)
    firsts = {2 * (place * pairs // shown) for place in range(shown)}
    return firsts | {first + 1 for first in firsts}


def as_sample(fields: Mapping[str, Any]) -> Sample:
    """Return an episode as it is shown.

    Raises:
        ValueError: if its vectors do not have one number per token.
        KeyError, TypeError, AttributeError: if fields are missing or of another kind.
    """
    texts = [str(text) for text in fields["tokens"]]
    count = len(texts)
    terms = {str(name): _vector(row, count) for name, row in fields["reward_terms"].items()}
    extra = {name: _vector(fields[name], count) for name in PER_TOKEN if fields.get(name)}
    totals = {
        name: float(fields[name]) for name in ("score", "gold") if fields.get(name) is not None
    }
    numbers = _token_numbers(terms, extra)
    shades = _shades(terms, extra, count)
    tokens = [
        Token(
            text=printable(text, MAX_TOKEN_CHARACTERS),
            numbers=_numbers({name: row[i] for name, row in numbers.items()}),
            shades={view: row[i] for view, row in shades.items()},
        )
        for i, text in enumerate(texts[:MAX_TOKENS])
    ]
    if count > MAX_TOKENS:
        tokens.append(Token(text=f" … {count - MAX_TOKENS} more", numbers="", shades={}))
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


def shade(number: float, largest: float) -> str:
    """Return the color of a number, relative to the episode's largest."""
    if largest == 0.0 or not math.isfinite(number):
        return "z"
    level = math.ceil(SHADES * min(1.0, abs(number) / largest))
    return "z" if level == 0 else f"{'p' if number > 0 else 'n'}{level}"


def printable(text: str, most: int = MAX_CHARACTERS) -> str:
    """Return a text without control characters, and not longer than is readable."""
    cut = text if len(text) <= most else f"{text[:most]} …"
    return "".join(c if c.isprintable() or c == "\n" else f"\\x{ord(c):02x}" for c in cut)


def _lines(path: Path) -> Any:
    with path.open(encoding="utf-8", errors="replace") as lines:
        yield from filter(str.strip, lines)


def _token_numbers(
    terms: Mapping[str, list[float]], extra: Mapping[str, list[float]]
) -> dict[str, list[float]]:
    """Return every number of the tokens under the name that it is shown by."""
    paid = {f"{VIEWS.get(name, name)} paid": row for name, row in terms.items()}
    named = {"KL in nats" if name == KL else VIEWS[name]: row for name, row in extra.items()}
    share = score_share(terms)
    return paid | ({"score share": share} if share else {}) | named


def score_share(terms: Mapping[str, list[float]]) -> list[float]:
    """Return each token's share of all that was paid for the score; none where that is 0."""
    paid = _score(terms)
    total = sum(paid)
    return [value / total for value in paid] if abs(total) > 1e-9 else []


def _score(terms: Mapping[str, list[float]]) -> list[float]:
    """Return what tokens were paid apart from the KL: score, shaping, penalties."""
    rows = [row for name, row in terms.items() if name != KL]
    return [sum(column) for column in zip(*rows, strict=True)]


def _shades(
    terms: Mapping[str, list[float]], extra: Mapping[str, list[float]], count: int
) -> dict[str, list[str]]:
    """Return the colors of the tokens in every view that there are numbers for."""
    known = {"score": _score(terms) or [0.0] * count, **extra}
    if KL in extra:
        # Nats spent are a loss.
        known[KL] = [-value for value in extra[KL]]
    elif KL in terms:
        known[KL] = terms[KL]
    found = {}
    for view, row in known.items():
        largest = max((abs(value) for value in row if math.isfinite(value)), default=0.0)
        found[view] = [shade(value, largest) for value in row]
    return found


def _vector(row: Any, length: int) -> list[float]:
    numbers = [math.nan if value is None else float(value) for value in row]
    if len(numbers) != length:
        raise ValueError(f"a vector must have one number per token = {length}, got {len(numbers)}")
    return numbers


def _numbers(named: Mapping[str, float]) -> str:
    return ", ".join(f"{printable(name)} {value:+.3f}" for name, value in named.items())
