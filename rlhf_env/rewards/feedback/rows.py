"""The row formats of preference data, each with a function from a row to a record.

Opening files, and counting what is odd, is in `rlhf_env.rewards.feedback.files`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rlhf_env.rewards.feedback.conversations import Row, prompt_and_sides, row_prompt
from rlhf_env.rewards.feedback.prompt_and_response import Prompt, check_response
from rlhf_env.rewards.feedback.records import (
    ComparedResponses,
    Comparison,
    MarkedResponse,
    Ranking,
    Rating,
    Record,
    Span,
    Thumb,
    Votes,
)

_SIDES = ("a", "b", "tie")
_THUMBS = {"up": True, "down": False, 1: True, 0: False, -1: False, "1": True, "0": False}


@dataclass(frozen=True, kw_only=True)
class RowFormat:
    """One row format."""

    kind: str
    """The kind of feedback: one of `KINDS`."""
    columns: tuple[str, ...]
    """What a row must have, besides the prompt."""
    records: Callable[[Row], list[Record]]
    """Makes the records of a row."""
    has_prompt: bool = True
    """Whether there must be a prompt column."""


def _pair(row: Row) -> list[Record]:
    """``prompt/chosen/rejected``, or two conversations that begin alike; ``margin``, ``tie``."""
    prompt, chosen, rejected = prompt_and_sides(row)
    is_tie = row.get("tie") or False
    if not isinstance(is_tie, bool):
        raise ValueError(f"tie must be true or false, got {is_tie!r:.60}")
    margin = row.get("margin")
    return [
        Comparison(
            prompt=prompt,
            chosen=chosen,
            rejected=rejected,
            votes=Votes(chosen=0.0, tie=1.0) if is_tie else Votes(),
            margin=0.0 if margin is None else margin,
        )
    ]


def _voted_pair(row: Row) -> list[Record]:
    """``prompt/response_a/response_b`` and ``votes``, a list of "a", "b" and "tie"."""
    votes = _list(row, "votes")
    return [_oriented(row_prompt(row), row["response_a"], row["response_b"], votes)]


def _won_pair(row: Row) -> list[Record]:
    """``prompt/response_a/response_b`` and ``winner``, one of "a", "b" and "tie"."""
    return [_oriented(row_prompt(row), row["response_a"], row["response_b"], [row["winner"]])]


def _compared(row: Row) -> list[Record]:
    """``prompt/responses/preferences``, a list of ``{"a": 0, "b": 2, "winner": "b"}``."""
    prompt, responses = row_prompt(row), tuple(_list(row, "responses"))
    pairs = []
    for preference in _list(row, "preferences"):
        if not isinstance(preference, Mapping) or not {"a", "b", "winner"} <= set(preference):
            raise ValueError(f"preferences must have a, b and winner, got {preference!r:.60}")
        sides = [_one_of(responses, preference[side]) for side in ("a", "b")]
        pairs.append(_oriented(prompt, sides[0], sides[1], [preference["winner"]]))
    return [ComparedResponses(prompt=prompt, responses=responses, pairs=tuple(pairs))]


def _ranked(row: Row) -> list[Record]:
    """``prompt/responses/ranking``: a rank per response, 1 the best, equal ones are ties."""
    responses, ranks = tuple(_list(row, "responses")), tuple(_list(row, "ranking"))
    return [Ranking(prompt=row_prompt(row), responses=responses, ranks=ranks)]


def _rated(row: Row) -> list[Record]:
    """``prompt/response/rating``, a number."""
    return [Rating(prompt=row_prompt(row), response=row["response"], rating=row["rating"])]


def _rated_several(row: Row) -> list[Record]:
    """``prompt/responses/ratings``, a number per response."""
    prompt, responses, ratings = row_prompt(row), _list(row, "responses"), _list(row, "ratings")
    if len(responses) != len(ratings):
        raise ValueError(
            f"ratings must hold one number per response, got {len(ratings)} for {len(responses)}"
        )
    pairs = zip(responses, ratings, strict=True)
    return [Rating(prompt=prompt, response=text, rating=rating) for text, rating in pairs]


def _thumb(row: Row) -> list[Record]:
    """``prompt/response/thumb``: true or false, "up" or "down", 1 or 0."""
    return [Thumb(prompt=row_prompt(row), response=row["response"], is_good=_is_good(row, "thumb"))]


def _labeled_completion(row: Row) -> list[Record]:
    """``prompt/completion/label``, true for a good one."""
    return [
        Thumb(prompt=row_prompt(row), response=row["completion"], is_good=_is_good(row, "label"))
    ]


def _marked(row: Row) -> list[Record]:
    """``prompt/response/spans``, a list of ``{"start": 0, "end": 7, "type": "..."}`` of errors."""
    check_response("response", row["response"])
    spans = []
    for span in _list(row, "spans"):
        found: Mapping[str, Any] = span if isinstance(span, Mapping) else {}
        start, end = found.get("start"), found.get("end")
        if not isinstance(start, int) or not isinstance(end, int):
            raise ValueError(f"spans must have whole numbers start and end, got {span!r:.60}")
        spans.append(Span(start=start, end=end, type=str(found.get("type") or "error")))
    return [MarkedResponse(prompt=row_prompt(row), response=row["response"], spans=tuple(spans))]


def _labeled_pieces(row: Row) -> list[Record]:
    """``prompt/tokens/labels``: the response in pieces of text, and for each whether it is good."""
    pieces, labels = _list(row, "tokens"), _list(row, "labels")
    if len(pieces) != len(labels):
        raise ValueError(
            f"labels must hold one label per token, got {len(labels)} for {len(pieces)} tokens"
        )
    for piece in pieces:
        if not isinstance(piece, str):
            raise ValueError(f"tokens must be pieces of text, got {piece!r:.60}")
    ends = list(itertools.accumulate(map(len, pieces)))
    marked = tuple(
        Span(start=end - len(piece), end=end)
        for piece, end, label in zip(pieces, ends, labels, strict=True)
        if not _as_thumb(label, "labels") and piece
    )
    return [MarkedResponse(prompt=row_prompt(row), response="".join(pieces), spans=marked)]


# The first whose columns are all there is taken.
FORMATS = (
    RowFormat(kind="comparisons", columns=("chosen", "rejected"), records=_pair, has_prompt=False),
    RowFormat(
        kind="comparisons", columns=("response_a", "response_b", "votes"), records=_voted_pair
    ),
    RowFormat(
        kind="comparisons", columns=("response_a", "response_b", "winner"), records=_won_pair
    ),
    RowFormat(kind="comparisons", columns=("responses", "preferences"), records=_compared),
    RowFormat(kind="rankings", columns=("responses", "ranking"), records=_ranked),
    RowFormat(kind="ratings", columns=("response", "rating"), records=_rated),
    RowFormat(kind="ratings", columns=("responses", "ratings"), records=_rated_several),
    RowFormat(kind="thumbs", columns=("response", "thumb"), records=_thumb),
    RowFormat(kind="thumbs", columns=("completion", "label"), records=_labeled_completion),
    RowFormat(kind="spans", columns=("response", "spans"), records=_marked),
    RowFormat(kind="spans", columns=("tokens", "labels"), records=_labeled_pieces),
)


def _oriented(prompt: Prompt, a: Any, b: Any, votes: Sequence[Any]) -> Comparison:
    """Return a pair with the side of more votes first; the given order decides where equal."""
    for vote in votes:
        if vote not in _SIDES:
            raise ValueError(f"votes must be a, b or tie, got {vote!r:.60}")
    counts = [float(sum(vote == side for vote in votes)) for side in _SIDES]
    sides = [(a, counts[0]), (b, counts[1])]
    if counts[1] > counts[0]:
        sides.reverse()
    (chosen, won), (rejected, lost) = sides
    return Comparison(
        prompt=prompt,
        chosen=chosen,
        rejected=rejected,
        votes=Votes(chosen=won, tie=counts[2], rejected=lost),
    )


def _one_of(responses: Sequence[str], index: Any) -> str:
    is_index = isinstance(index, int) and not isinstance(index, bool)
    if not is_index or not 0 <= index < len(responses):
        raise ValueError(
            f"preferences must name responses 0 to {len(responses) - 1}, got {index!r:.60}"
        )
    return responses[index]


def _is_good(row: Row, column: str) -> bool:
    return _as_thumb(row[column], column)


def _as_thumb(value: Any, column: str) -> bool:
    if not isinstance(value, str | int | float) or value not in _THUMBS:
        raise ValueError(f"{column} must be true or false, up or down, 1 or 0, got {value!r:.60}")
    return _THUMBS[value]


def _list(row: Row, column: str) -> list[Any]:
    if not isinstance(row[column], list | tuple):
        raise ValueError(f"{column} must be a list, got {row[column]!r:.60}")
    return list(row[column])
