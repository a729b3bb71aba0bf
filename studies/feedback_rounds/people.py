"""Labels of people: taken from the page of `scripts/label.py`, or waited for."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from studies.feedback_rounds.folder import RoundFolder
from studies.feedback_rounds.labels import (
    PAGE,
    Choices,
    page_command,
    read_choices,
    read_pairs,
    write_pairs,
)
from studies.feedback_rounds.pairs import Pair
from studies.labelling.folder import holds_labels
from studies.labelling.progress import in_one_line
from studies.labelling.saved import SavedLabels

LOOK_SECONDS = 1.0


def take_labels(folder: RoundFolder) -> bool:
    """Write what was said in the page into the round's file, once that leaves no pair without.

    Lines that were filled in by hand stay as they are.

    Returns:
        whether every pair has a label, from wherever.

    Raises:
        ValueError: if the file cannot be used, or the page is of other pairs.
    """
    pairs = read_pairs(folder.pairs)
    written = read_choices(folder.labels, pairs)
    if None not in written:
        return True
    page = folder.path / PAGE
    if not holds_labels(page):
        return False
    said = [first or second for first, second in zip(written, _said(page, pairs), strict=True)]
    if None in said:
        return False
    write_pairs(folder.labels, pairs, said)
    return True


def wait_for_labels(folder: RoundFolder, console: Console) -> None:
    """Take the labels as soon as all are there, and say meanwhile how far people are.

    Ctrl-C ends the waiting; the same command waits on.
    """
    if take_labels(folder):
        return
    command = page_command(folder.path)
    console.print(f"to label in a browser, run in another window: {command}", markup=False)
    shown = ""
    with console.status("") as status:
        while not take_labels(folder):
            line = _progress(folder)
            status.update(line)
            if line != shown and not console.is_terminal:
                console.print(line, markup=False)
            shown = line
            time.sleep(LOOK_SECONDS)
    console.print(f"all {len(read_pairs(folder.pairs))} pairs labeled", markup=False)


def _progress(folder: RoundFolder) -> str:
    page = folder.path / PAGE
    if holds_labels(page):
        labels = SavedLabels.reading(page)
        try:
            return in_one_line(labels)
        finally:
            labels.close()
    written = read_choices(folder.labels, read_pairs(folder.pairs))
    return f"{sum(said is not None for said in written)} of {len(written)} labeled"


def _said(page: Path, pairs: Sequence[Pair]) -> list[Choices]:
    """Return what was said of each pair; None where somebody's answer is still wanted."""
    labels = SavedLabels.reading(page)
    try:
        items, wanted = labels.items(), labels.annotators_per_item
        said: dict[int, list[str]] = defaultdict(list)
        for click in labels.judgements():
            said[click.item].append(click.answer["choice"])
    finally:
        labels.close()
    asked = [(item.prompt, *item.responses) for item in items]
    if asked != [(pair.prompt, pair.response_a, pair.response_b) for pair in pairs]:
        raise ValueError(
            f"{str(page)!r} must hold labels of the {len(pairs)} pairs of the round, got others; "
            "move it away"
        )
    found = [tuple(said[item.number]) for item in items]
    return [choices if len(choices) >= wanted else None for choices in found]
