"""Figures of several judges as plain numbers, and as a table for people."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from rlhf_env.rewards.evaluation import Figures
from rlhf_env.rewards.metrics.calibration import Calibration
from rlhf_env.statistics import Estimate

_CALIBRATION = "calibration_error"


def as_floats(figures: Figures) -> dict[str, float]:
    """Return every figure under its name; an interval under ``name_low`` and ``name_high``.

    Figures that the data do not give are left out.
    """
    floats: dict[str, float] = {}
    for name, value in _items(figures):
        if isinstance(value, Estimate):
            ends = {f"{name}_low": value.low, f"{name}_high": value.high}
            known = {end: number for end, number in ends.items() if number is not None}
            floats |= {name: value.value, **known}
        else:
            floats[name] = float(value)
    return floats


def markdown(judges: Mapping[str, Figures]) -> str:
    """Return a table with a row per figure and a column per judge, in Markdown.

    Args:
        judges: the figures of each, on the same data.
    """
    columns = {judge: dict(_items(figures)) for judge, figures in judges.items()}
    names = list(dict.fromkeys(name for column in columns.values() for name in column))
    rows = [["", *columns], ["---"] * (len(columns) + 1)]
    for name in names:
        cells = [_shown(column.get(name)) for column in columns.values()]
        rows.append([name.replace("_", " "), *cells])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _items(figures: Any) -> Iterator[tuple[str, Any]]:
    """Yield names and values, those of parts without the part's name."""
    for field in dataclasses.fields(figures):
        value = getattr(figures, field.name)
        if isinstance(value, Calibration):
            yield _CALIBRATION, value.expected_error
        elif isinstance(value, Estimate | int | float):
            yield field.name, value
        elif value is not None:
            yield from _items(value)


def _shown(value: Estimate | float | None) -> str:
    if value is None:
        return "–"
    if isinstance(value, int):
        return f"{value:,}"
    return str(value) if isinstance(value, Estimate) else f"{value:.3f}"
