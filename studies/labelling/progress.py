"""How far a folder is, in numbers and in one line."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from rlhf_env.extras import MissingExtraError
from studies.labelling.agreement import Agreement, agreements
from studies.labelling.saved import SavedLabels, is_vote


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a folder is."""

    items: int
    """All of them."""
    done: int
    """Those that as many annotators answered as should; skips count."""
    needed: int
    """Answers that are wanted of all annotators together."""
    answers: int
    """Those of them that are there."""
    own: dict[str, int]
    """Annotator -> answers."""
    skipped: dict[str, int]
    """Annotator -> how many of these are skips."""
    agreement: list[Agreement]
    """Of each kind of question on which several voted."""

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to ask."""
        return self.done == self.items


def progress_of(labels: SavedLabels) -> Progress:
    """Return how far a folder is."""
    items, judgements = labels.items(), labels.judgements()
    judged = Counter(click.item for click in judgements)
    each = labels.annotators_per_item
    own = Counter(click.annotator for click in judgements)
    names = labels.annotators()
    return Progress(
        items=len(items),
        done=sum(judged[item.number] >= each for item in items),
        needed=len(items) * each,
        answers=sum(min(judged[item.number], each) for item in items),
        own={name: own[name] for name in names},
        skipped=dict(Counter(click.annotator for click in judgements if not is_vote(click))),
        agreement=agreements(items, judgements) if each > 1 else [],
    )


def in_one_line(labels: SavedLabels) -> str:
    """Return how far a folder is for a terminal: "37 of 64 labeled, alpha 0.71"."""
    try:
        progress = progress_of(labels)
    except MissingExtraError:
        # Whoever waits on a machine without the page's packages is told all but the agreement.
        judged = Counter(click.item for click in labels.judgements())
        done = sum(count >= labels.annotators_per_item for count in judged.values())
        return f"{done} of {len(labels.items())} labeled"
    alphas = [a for a in progress.agreement if a.alpha is not None]
    several = len(alphas) > 1
    shown = "".join(f", alpha{f' ({a.ask})' if several else ''} {a.alpha:.2f}" for a in alphas)
    return f"{progress.done} of {progress.items} labeled{shown}"
