"""The content of a report, and its files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rlhf_env.files import write_atomically
from rlhf_env.rewards.evaluation import Figures
from rlhf_env.rewards.metrics.pair import PairFigures
from rlhf_env.rewards.metrics.single import ThumbFigures
from rlhf_env.rewards.metrics.table import as_floats, markdown
from studies.reward_report.figure import calibration_png

TEST = "test"


def page(found: Mapping[str, Mapping[str, Figures]], notes: Sequence[str]) -> str:
    """Return the report in Markdown.

    Args:
        found: per test the figures of each judge; `TEST` comes first and in full, of the others
            the accuracy.
        notes: everything odd, one sentence each.
    """
    judges = found[TEST]
    parts = ["# Reward model on held-out data\n", markdown(judges)]
    others = {test: figures for test, figures in found.items() if test != TEST}
    if others:
        parts.append(_accuracies(others))
    if notes:
        parts.append("".join(f"- {note}\n" for note in notes))
    return "\n".join(parts)


def write(
    folder: Path,
    found: Mapping[str, Mapping[str, Figures]],
    *,
    training: Mapping[str, Any],
    notes: Sequence[str],
) -> None:
    """Write report.md, figures.json and, where there are forecasts, calibration.png.

    Args:
        folder: is made.
        found: as `page` takes it.
        training: how the training went, as plain values.
        notes: everything odd, one sentence each.
    """
    folder.mkdir(parents=True, exist_ok=True)
    floats = {
        test: {judge: as_floats(figures) for judge, figures in judges.items()}
        for test, judges in found.items()
    }
    content = {"figures": floats, "training": dict(training), "notes": list(notes)}
    write_atomically(folder / "figures.json", (json.dumps(content, indent=2) + "\n").encode())
    write_atomically(folder / "report.md", page(found, notes).encode())
    curves = {
        judge: figures.calibration
        for judge, figures in found[TEST].items()
        if isinstance(figures, PairFigures | ThumbFigures)
    }
    if curves:
        drawn = calibration_png(curves, "Calibration on held-out prompts")
        write_atomically(folder / "calibration.png", drawn)


def _accuracies(tests: Mapping[str, Mapping[str, Figures]]) -> str:
    """Return a table of accuracies: a row per test, a column per judge."""
    judges = list(next(iter(tests.values())))
    rows = [["accuracy on", "pairs", *judges, "longer wins"], ["---"] * (len(judges) + 3)]
    for test, figures in tests.items():
        own = [found for found in figures.values() if isinstance(found, PairFigures)]
        accuracies = [str(found.accuracy) for found in own]
        rows.append([test, str(own[0].decided_pairs), *accuracies, str(own[0].longer_wins)])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)
