"""What people can answer: from the fields of a form to the answer that is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from rlhf_env.files import parse_json
from studies.labelling.items import Item

# ``choice``, and for some choices ``ranking``, ``rating`` or ``spans``.
Answer: TypeAlias = dict[str, Any]

SKIP, WITHDRAWN, TIE, BOTH_BAD = "skip", "withdrawn", "tie", "both_bad"
GOOD = "good"
MAX_SPANS = 500
CHOICES = {
    "compare": ("a", "b", TIE, BOTH_BAD),
    "rank": ("ranked", TIE, BOTH_BAD),
    "thumbs": ("up", "down"),
    "mark": ("marked",),
}


@dataclass(frozen=True, kw_only=True)
class Answering:
    """What bounds answers."""

    scale: tuple[int, int]
    """Lowest and highest rating."""
    error_types: tuple[str, ...]
    """What a marked part can be wrong with."""


def read_answer(item: Item, fields: Mapping[str, str], bounds: Answering) -> Answer:
    """Return the answer that a form holds; sides are those of the file, not of the screen.

    Args:
        item: what was asked.
        fields: of the form: ``choice``, which is the number where responses are rated;
            ``rank_0``, ``rank_1``, ... for "ranked"; ``spans`` for "marked", a JSON list of
            ``{"start", "end", "type"}`` in code points.
        bounds: of ratings and types.

    Raises:
        ValueError: if it is none of the possible answers.
    """
    choice = fields.get("choice", "")
    if choice in (SKIP, WITHDRAWN):
        return {"choice": choice}
    if item.ask == "rate":
        return {"choice": "rated", "rating": _rating(choice, bounds.scale)}
    if choice not in CHOICES[item.ask]:
        known = ", ".join((*CHOICES[item.ask], SKIP))
        raise ValueError(f"choice must be one of {known}, got {choice!r:.60}")
    if item.ask == "rank":
        return {"choice": choice, "ranking": _ranking(item, choice, fields)}
    if item.ask == "mark":
        return {"choice": choice, "spans": _spans(item.responses[0], fields, bounds.error_types)}
    return {"choice": choice}


def in_words(answer: Answer, shown: Sequence[int]) -> str:
    """Return an answer as the annotator saw it.

    Args:
        answer: of `read_answer`.
        shown: [K] which response was at each place.
    """
    choice = answer["choice"]
    if choice in ("a", "b"):
        return f"{letter(shown.index('ab'.index(choice)))} is better"
    if choice == "ranked":
        placed = [(answer["ranking"][index], letter(n)) for n, index in enumerate(shown)]
        ranks = sorted({rank for rank, _ in placed})
        return ", ".join(" = ".join(name for r, name in placed if r == rank) for rank in ranks)
    if choice == "rated":
        return str(answer["rating"])
    if choice == "marked":
        count = len(answer["spans"])
        return "nothing marked" if not count else f"{count} mark{'s' if count > 1 else ''}"
    words = {"up": "good", "down": "bad", SKIP: "skipped", BOTH_BAD: "all bad", TIE: "tie"}
    return "both bad" if choice == BOTH_BAD and len(shown) == 2 else words[choice]


def letter(place: int) -> str:
    """Return the name of a place on the screen: A, B, ..."""
    return chr(ord("A") + place)


def _ranking(item: Item, choice: str, fields: Mapping[str, str]) -> list[int]:
    """Return a rank per response, without gaps; 1 is the best."""
    count = len(item.responses)
    if choice != "ranked":
        return [1] * count
    said = [fields.get(f"rank_{index}", "") for index in range(count)]
    for rank in said:
        if not rank.isascii() or not rank.isdigit() or not 1 <= int(rank[:3]) <= count:
            raise ValueError(f"every response must have a rank from 1 to {count}, got {rank!r:.20}")
    order = sorted(set(map(int, said)))
    return [order.index(int(rank)) + 1 for rank in said]


def _rating(said: str, scale: tuple[int, int]) -> int:
    points = {str(point): point for point in range(scale[0], scale[1] + 1)}
    if said not in points:
        raise ValueError(f"rating must be from {scale[0]} to {scale[1]}, got {said!r:.20}")
    return points[said]


def _spans(
    response: str, fields: Mapping[str, str], error_types: Sequence[str]
) -> list[dict[str, Any]]:
    """Return marked parts in their order; they lie in the text and do not overlap."""
    said = parse_json(fields.get("spans", ""))
    if not isinstance(said, list) or len(said) > MAX_SPANS:
        raise ValueError(f"spans must be a list of at most {MAX_SPANS}, got {said!r:.60}")
    spans = [_span(span, error_types) for span in said]
    spans.sort(key=lambda span: span["start"])
    last = 0
    for span in spans:
        if not last <= span["start"] < span["end"] <= len(response):
            raise ValueError(
                f"spans must lie in the {len(response)} characters one after the other, got "
                f"{span['start']} to {span['end']} after {last}"
            )
        last = span["end"]
    return spans


def _span(span: Any, error_types: Sequence[str]) -> dict[str, Any]:
    found = span if isinstance(span, Mapping) else {}
    start, end, kind = (found.get(name) for name in ("start", "end", "type"))
    if type(start) is not int or type(end) is not int:
        raise ValueError(f"spans must have whole numbers start and end, got {span!r:.60}")
    if kind != GOOD and kind not in error_types:
        names = ", ".join((GOOD, *error_types))
        raise ValueError(f"the type of a span must be one of {names}, got {kind!r:.60}")
    return {"start": start, "end": end, "type": kind}
