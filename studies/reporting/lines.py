"""Panels and lines: which runs are shown together, and how lines are distinguished."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from studies.reporting.axes import (
    MISSING,
    PANEL_AXES,
    groups,
    limited,
    rows_where,
    values,
    varied_axes,
)
from studies.reporting.style import DASHES, LIGHT, LINE_WIDTH, MARKERS, WIDE, shaded
from studies.reporting.titles import SYMBOLS

# More than these cannot be distinguished; runs that cannot be distinguished are pooled.
MAX_LINES = 12
MAX_PANELS = {"granularity": 6, "density": 6}


@dataclass(frozen=True, kw_only=True)
class Line:
    """The runs of one line."""

    name: str
    """As the legend has it."""
    color: str
    """The agent's, in the shade of the other settings."""
    dashes: Any
    """Of the other settings, where lines are drawn."""
    width: float
    """In points; the first of several is wide, so that one that equals it shows on top."""
    marker: str
    """Of the other settings, where points are."""
    strata: list[pd.DataFrame]
    """The rows of its runs, setting by setting; most lines have one setting."""

    @property
    def look(self) -> dict[str, Any]:
        """What matplotlib calls color, dashes and width."""
        return {"color": self.color, "linestyle": self.dashes, "linewidth": self.width}


@dataclass(frozen=True, kw_only=True)
class Panel:
    """The lines of one granularity and density."""

    title: str
    lines: list[Line]


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The panels of a figure, row after row."""

    rows: int
    """How many."""
    columns: int
    """How many."""
    panels: list[Panel]
    """All of them, [rows * columns]."""
    lines: list[Line]
    """Every line that any panel has, for the legend."""
    note: str
    """What is pooled or left out, as a caption's last sentences; may be empty."""


def panel_grid(results: pd.DataFrame) -> Grid:
    """Return the panels of one task's runs, granularities down and densities across.

    Args:
        results: the runs that ended well, every axis' value as it is read.
    """
    shown, left_out = limited(results, MAX_PANELS)
    axes, pooled = line_axes(shown)
    rows, columns = (values(shown, name) for name in PANEL_AXES)
    places = [(row, column) for row in rows for column in columns]
    panels = [
        Panel(
            title=f"{row}, {column}",
            lines=_lines(
                shown,
                rows_where(shown, (shown["granularity"] == row) & (shown["density"] == column)),
                axes,
                pooled,
            ),
        )
        for row, column in places
    ]
    note = f" Pooled in each line: {', '.join(pooled)}." if pooled else ""
    return Grid(
        rows=len(rows),
        columns=len(columns),
        panels=panels,
        lines=_lines(shown, shown, axes, pooled),
        note=note + left_out,
    )


def line_axes(results: pd.DataFrame) -> tuple[list[str], list[str]]:
    """Return the axes that make lines, the agent first, and those that a line has to pool."""
    varied = [name for name in varied_axes(results) if name not in ("agent", *PANEL_AXES)]
    shown, pooled = ["agent"], []
    for name in varied:
        has_room = len(results.drop_duplicates([*shown, name])) <= MAX_LINES
        (shown if has_room else pooled).append(name)
    return shown, pooled


def _lines(
    every: pd.DataFrame, here: pd.DataFrame, axes: list[str], pooled: list[str]
) -> list[Line]:
    """Return the lines of some runs; the runs of all panels decide on the looks."""
    others = axes[1:]
    agents = values(every, "agent")
    settings = [key for key, _ in groups(every, others)]
    return [
        _line(
            key,
            [rows for _, rows in groups(runs, pooled)],
            others=others,
            turn=agents.index(key[0]),
            look=settings.index(tuple(key[1:])),
            is_alone=len(settings) == 1,
        )
        for key, runs in groups(here, axes)
    ]


def _line(
    key: tuple[Any, ...],
    strata: list[pd.DataFrame],
    *,
    others: list[str],
    turn: int,
    look: int,
    is_alone: bool,
) -> Line:
    named = [
        f"{SYMBOLS.get(name, name)} {value}"
        for name, value in zip(others, key[1:], strict=True)
        if value != MISSING
    ]
    color = LIGHT.lines[turn % len(LIGHT.lines)]
    is_wide = look == 0 and not is_alone
    return Line(
        name=" ".join([key[0], *named]),
        color=color if is_alone else shaded(color, look),
        dashes=DASHES[look % len(DASHES)],
        width=WIDE if is_wide else LINE_WIDTH,
        marker=MARKERS[look % len(MARKERS)],
        strata=strata,
    )
