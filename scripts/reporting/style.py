"""How figures look: colours, light and dark, axes, and legends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from cycler import cycler
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

DASHES = ("-", (0, (5, 2)), (0, (1.2, 1.4)), (0, (5, 1.5, 1, 1.5)), (0, (9, 2)), (0, (2, 4)))
MARKERS = ("o", "s", "^", "D", "v", "P")
# How far a colour is moved, setting by setting: below 0 towards the paper, above towards the ink.
SHADES = (-0.5, 0.0, 0.35, 0.6, -0.25, 0.2)
# Inches; what a phone shows at the size it is drawn in.
NARROW = 3.7


@dataclass(frozen=True, kw_only=True)
class Theme:
    """The colours of one look.

    Attributes:
        suffix: of the files drawn in it.
        ink: of texts.
        muted: of axes and grid.
        paper: behind everything.
        lines: of data, which people with colour blindness tell apart.
    """

    suffix: str
    ink: str
    muted: str
    paper: str
    lines: tuple[str, ...]


# Okabe and Ito's colours without yellow, which cannot be read on white; lighter on black.
LIGHT = Theme(
    suffix="",
    ink="#1f2933",
    muted="#c9d1d9",
    paper="#ffffff",
    lines=("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00"),
)
DARK = Theme(
    suffix="-dark",
    ink="#e6e9ee",
    muted="#434b57",
    paper="#171b21",
    lines=("#4AA8E8", "#FF8A47", "#3CC9A0", "#E6A3C8", "#9AD6F7", "#F4C152"),
)


def settings(theme: Theme) -> dict[Any, Any]:
    """Return matplotlib's settings for a look; no text is read as a formula."""
    return {
        "text.parse_math": False,
        "font.size": 9,
        "axes.titlesize": 9,
        "axes.titlelocation": "left",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.linewidth": 0.6,
        "lines.linewidth": 1.6,
        "figure.facecolor": theme.paper,
        "axes.facecolor": theme.paper,
        "text.color": theme.ink,
        "axes.labelcolor": theme.ink,
        "axes.titlecolor": theme.ink,
        "xtick.color": theme.ink,
        "ytick.color": theme.ink,
        "axes.prop_cycle": cycler(color=theme.lines),
        "axes.edgecolor": theme.muted,
        "grid.color": theme.muted,
    }


def facets(
    rows: int, columns: int, *, width: float = 3.0, height: float = 2.4, stacked: bool = False
) -> tuple[Figure, Any]:
    """Return a figure with a grid of axes, [rows, columns], sharing their scales.

    Args:
        rows: of the grid.
        columns: of the grid.
        width: of one of the axes, in inches.
        height: of one of the axes, in inches.
        stacked: draw all of them in one column, row after row.
    """
    size = (max(5.4, width * columns + 0.8), height * rows + 0.9)
    drawn = (rows, columns)
    if stacked:
        size, drawn = (NARROW, height * rows * columns * 0.85 + 1.2), (rows * columns, 1)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(*drawn, squeeze=False, sharex=True, sharey=True)
    return figure, axes.reshape(rows, columns)


def legend(figure: Figure, samples: Sequence[Line2D], *, stacked: bool = False) -> None:
    """Name all lines of a figure, each beside a sample, above its panels."""
    longest = max((len(str(sample.get_label())) for sample in samples), default=1)
    letters = (figure.get_figwidth() - 0.4) * 13
    fitting = max(1, int(letters // (longest + 9)))
    figure.legend(
        handles=list(samples),
        loc="outside upper left",
        ncols=min(fitting, len(samples)) or 1,
        frameon=False,
        handlelength=3.2,
        fontsize=8 if stacked else 9,
    )


def shaded(colour: str, step: int) -> str:
    """Return a colour moved towards paper or ink, so that settings of one agent differ."""
    share = SHADES[step % len(SHADES)]
    end = mpl.rcParams["figure.facecolor" if share < 0 else "text.color"]
    moved = np.asarray(to_rgb(colour)) * (1 - abs(share)) + np.asarray(to_rgb(end)) * abs(share)
    return to_hex(tuple(moved.tolist()))


def line_colours() -> list[str]:
    """Return the colours of lines in the present look."""
    return list(mpl.rcParams["axes.prop_cycle"].by_key()["color"])


def themed(theme: Theme) -> Any:
    """Return a context in which figures have a look."""
    return mpl.rc_context(settings(theme))
