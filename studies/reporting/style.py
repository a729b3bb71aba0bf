"""How figures look: colors, axes of fixed sizes, and legends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib import rcsetup
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

DASHES = ("-", (0, (5, 2)), (0, (1.2, 1.4)), (0, (5, 1.5, 1, 1.5)), (0, (9, 2)), (0, (2, 4)))
MARKERS = ("o", "s", "^", "D", "v", "P")
# How far a color is moved, setting by setting: below 0 towards the paper, above towards the ink.
SHADES = (-0.5, 0.0, 0.35, 0.6, -0.25, 0.2)
# Points.
LINE_WIDTH, WIDE = 1.6, 3.4
# Letters of a text in points, that fit into an inch.
LETTERS_PER_INCH = 13.0
LINE_HEIGHT = 0.19
HANDLE_LETTERS = 9
# All sizes in inches. A phone shows the narrow figures at the size they are drawn in.
NARROW = 3.7
LEFT, RIGHT, BOTTOM, TOP = 0.78, 0.15, 0.55, 0.35
COLUMN_GAP, ROW_GAP = 0.28, 0.42


@dataclass(frozen=True, kw_only=True)
class Theme:
    """The colors of one look."""

    ink: str
    """Of texts."""
    muted: str
    """Of axes and grid."""
    paper: str
    """The background."""
    lines: tuple[str, ...]
    """Of data; distinguishable with color blindness."""


# Okabe and Ito's colors without yellow, which cannot be read on white. Dark pages invert them.
LIGHT = Theme(
    ink="#1f2933",
    muted="#c9d1d9",
    paper="#ffffff",
    lines=("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00"),
)


@dataclass(frozen=True, kw_only=True)
class Panels:
    """The sizes of a figure's panels."""

    width: float = 2.4
    """Of one, in inches."""
    height: float = 1.75
    """Of one, in inches."""
    left: float = LEFT
    """What the labels at its left take, in inches."""
    bottom: float = BOTTOM
    """What is below the last row, in inches."""
    gap: float = ROW_GAP
    """Between two rows, for titles and labels, in inches."""


def settings(theme: Theme) -> dict[Any, Any]:
    """Return matplotlib's settings for a look; no text is read as a formula."""
    return {
        "text.parse_math": False,
        "font.size": 9,
        "axes.titlesize": 9,
        "axes.titlelocation": "left",
        # Otherwise matplotlib measures all labels of every panel to place its title.
        "axes.titley": 1.0,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.linewidth": 0.6,
        "lines.linewidth": LINE_WIDTH,
        "figure.facecolor": theme.paper,
        "axes.facecolor": theme.paper,
        "text.color": theme.ink,
        "axes.labelcolor": theme.ink,
        "axes.titlecolor": theme.ink,
        "xtick.color": theme.ink,
        "ytick.color": theme.ink,
        "axes.prop_cycle": rcsetup.cycler(color=theme.lines),
        "axes.edgecolor": theme.muted,
        "grid.color": theme.muted,
    }


def subplots(
    rows: int,
    columns: int,
    *,
    panels: Panels | None = None,
    legend: Sequence[Line2D] = (),
    stacked: bool = False,
) -> tuple[Figure, Any]:
    """Return a figure with a grid of axes, [rows, columns].

    Places are computed from sizes: asking matplotlib for them takes longer than the drawing.
    `share_scales` is for when all is drawn: axes that share from the start look at each other at
    every line.

    Args:
        rows: of the grid.
        columns: of the grid.
        panels: their sizes.
        legend: a sample of every line, named above the panels.
        stacked: draw all of them in one column, row after row.
    """
    sizes = panels or Panels()
    across, down = (1, rows * columns) if stacked else (columns, rows)
    side = sizes.left + RIGHT
    width = NARROW - side if stacked else sizes.width
    total = max(side + across * width + (across - 1) * COLUMN_GAP, NARROW)
    per_row = _samples_per_row(legend, total)
    top = TOP + LINE_HEIGHT * -(-len(legend) // per_row) + (0.05 if legend else 0.0)
    tall = top + down * sizes.height + (down - 1) * sizes.gap + sizes.bottom
    figure = Figure(figsize=(total, tall))
    axes = figure.subplots(
        down,
        across,
        squeeze=False,
        gridspec_kw={
            "left": sizes.left / total,
            "right": (sizes.left + across * width + (across - 1) * COLUMN_GAP) / total,
            "top": 1.0 - top / tall,
            "bottom": sizes.bottom / tall,
            "wspace": COLUMN_GAP / width,
            "hspace": sizes.gap / sizes.height,
        },
    )
    if legend:
        figure.legend(
            handles=list(legend),
            loc="upper left",
            bbox_to_anchor=(0.0, 1.0),
            ncols=min(per_row, len(legend)),
            frameon=False,
            handlelength=3.2,
            borderaxespad=0.2,
            fontsize=8,
        )
    return figure, axes.reshape(rows, columns)


def share_scales(axes: np.ndarray, x: str, y: str) -> None:
    """Give all panels the same limits, and name both scales once per column and row.

    Args:
        axes: what `subplots` returned, with everything drawn.
        x: name of the horizontal scale.
        y: name of the vertical scale.
    """
    limits = np.array([[*ax.get_xlim(), *ax.get_ylim()] for ax in axes.flat])
    left, _, bottom, _ = limits.min(axis=0)
    _, right, _, top = limits.max(axis=0)
    for ax in axes.flat:
        ax.axis((left, right, bottom, top))
        ax.set_xlabel(x)
        ax.set_ylabel(y)
        ax.label_outer(remove_inner_ticks=True)


def shortened(text: str, inches: float) -> str:
    """Return a text shortened to about what fits, with its middle left out if necessary."""
    most = max(8, int(inches * LETTERS_PER_INCH))
    if len(text) <= most:
        return text
    return f"{text[: most // 2]}…{text[-(most - most // 2 - 1) :]}"


def shaded(color: str, step: int) -> str:
    """Return a color moved towards paper or ink, so that settings of one agent differ."""
    share = SHADES[step % len(SHADES)]
    end = LIGHT.paper if share < 0 else LIGHT.ink
    moved = np.asarray(to_rgb(color)) * (1 - abs(share)) + np.asarray(to_rgb(end)) * abs(share)
    return to_hex(tuple(moved.tolist()))


def line_colors() -> list[str]:
    """Return the colors of lines in the present look."""
    return list(mpl.rcParams["axes.prop_cycle"].by_key()["color"])


def themed(theme: Theme) -> Any:
    """Return a context in which figures have a look."""
    return mpl.rc_context(settings(theme))


def _samples_per_row(legend: Sequence[Line2D], inches: float) -> int:
    longest = max((len(str(sample.get_label())) for sample in legend), default=1)
    return max(1, int((inches - 0.2) * LETTERS_PER_INCH // (longest + HANDLE_LETTERS)))
