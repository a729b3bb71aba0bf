"""How well annotators agree: Krippendorff's alpha of each kind of question.

α = 1 − D_o/D_e, observed over expected disagreement: 1 for judgements that all agree, 0 for those
that agree as by chance (Krippendorff 2018, Content Analysis, chapter 12). It takes any number of
annotators, and items that not all of them judged. Computed by the package krippendorff.

Where the votes are those of two people, Cohen's kappa is there too, 1 − (1 − p_o)/(1 − p_e) with
the chance agreement p_e of these two (Cohen 1960); of ranks and ratings the kappa weighted by
squared distance (Cohen 1968). Computed by scikit-learn.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from rlhf_env.extras import importing
from studies.labelling.answers import BOTH_BAD, TIE
from studies.labelling.items import Item
from studies.labelling.saved import Click, is_vote

# How far two different answers are apart: as far as any others, or by what is ranked between them.
LEVELS: dict[str, Literal["nominal", "ordinal"]] = {
    "compare": "nominal",
    "rank": "ordinal",
    "thumbs": "nominal",
    "rate": "ordinal",
    "mark": "nominal",
}


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Of one kind of question."""

    ask: str
    """One of `ASKS`."""
    alpha: float | None
    """None where all said the same of everything, of which nothing can be concluded."""
    items: int
    """On how many items two annotators or more voted."""
    kappa: float | None = None
    """Cohen's; None unless the votes are of two annotators, and where alpha is None."""


def agreements(items: Sequence[Item], judgements: Iterable[Click]) -> list[Agreement]:
    """Return the agreement on each kind of question with items on which several voted.

    Units are items to compare (a, b, tie; both bad counts as a tie), to rate and to give thumbs;
    each response of those to rank; and each character of those to mark.
    """
    votes: dict[int, list[Click]] = defaultdict(list)
    for click in judgements:
        if is_vote(click):
            votes[click.item].append(click)
    several: dict[str, list[tuple[Item, list[Click]]]] = defaultdict(list)
    for item in items:
        if len(votes[item.number]) > 1:
            several[item.ask].append((item, votes[item.number]))
    return [
        Agreement(ask=ask, alpha=_alpha(ask, voted), items=len(voted), kappa=_kappa(ask, voted))
        for ask, voted in several.items()
    ]


def _alpha(ask: str, voted: Iterable[tuple[Item, list[Click]]]) -> float | None:
    with importing("label"):
        import krippendorff

    units = [Counter(values) for item, clicks in voted for values in _units(item, clicks)]
    domain = sorted(set().union(*units), key=lambda value: (str(type(value)), value))
    if len(domain) < 2:
        return None
    counts = np.array([[unit[value] for value in domain] for unit in units])
    names: Any = np.arange(len(domain)) if isinstance(domain[0], str) else np.array(domain)
    return float(
        krippendorff.alpha(
            value_counts=counts, value_domain=names, level_of_measurement=LEVELS[ask]
        )
    )


def _kappa(ask: str, voted: Sequence[tuple[Item, list[Click]]]) -> float | None:
    if len({click.annotator for _, clicks in voted for click in clicks}) != 2:
        return None
    with importing("label"):
        from sklearn.metrics import cohen_kappa_score

    by_name = [(item, sorted(clicks, key=lambda click: click.annotator)) for item, clicks in voted]
    pairs: list[Sequence[Any]] = [pair for each in by_name for pair in _units(*each)]
    one, other = zip(*pairs, strict=True)
    said = sorted({*one, *other})
    if len(said) < 2:
        return None
    if LEVELS[ask] == "nominal":
        return float(cohen_kappa_score(one, other, labels=said))
    # Weights follow the places of the labels, so that those which nobody chose count as well.
    labels = list(range(said[0], said[-1] + 1))
    return float(cohen_kappa_score(one, other, labels=labels, weights="quadratic"))


def _units(item: Item, clicks: Sequence[Click]) -> Iterator[Sequence[Hashable]]:
    """Yield what the annotators said of each unit of an item."""
    answers = [click.answer for click in clicks]
    if item.ask == "rank":
        yield from zip(*(answer["ranking"] for answer in answers), strict=True)
    elif item.ask == "rate":
        yield [answer["rating"] for answer in answers]
    elif item.ask == "mark":
        marks = [_characters(answer["spans"], len(item.responses[0])) for answer in answers]
        yield from zip(*marks, strict=True)
    else:
        yield [TIE if answer["choice"] == BOTH_BAD else answer["choice"] for answer in answers]


def _characters(spans: Iterable[dict[str, Any]], length: int) -> list[str]:
    """Return the type of the mark on each character; empty for none."""
    types = [""] * length
    for span in spans:
        types[span["start"] : span["end"]] = [span["type"]] * (span["end"] - span["start"])
    return types
