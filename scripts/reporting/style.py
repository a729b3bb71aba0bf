"""How figures look: colours, light and dark, axes, and labels beside their lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure

DASHES = ("-", (0, (5, 2)), (0, (1.2, 1.4)), (0, (5, 1.5, 1, 1.5)), (0, (9, 2)), (0, (2, 4)))
MARKERS = ("o", "s", "^", "D", "v", "P")


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
    rows: int, columns: int, *, width: float = 3.6, height: float = 2.5
) -> tuple[Figure, Any]:
    """Return a figure with a grid of axes, [rows, columns], sharing their scales."""
    figure = Figure(
        figsize=(max(5.4, width * columns + 0.8), height * rows + 0.8), layout="constrained"
    )
    return figure, figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)


def label_lines(axes: Axes, ends: Sequence[tuple[float, float, str, str]]) -> None:
    """Write each line's name beside its end, moved apart where ends lie close together.

    Args:
        axes: with its final limits.
        ends: (x, y, name, colour) of every line.
    """
    low, high = axes.get_ylim()
    to_fraction = axes.transData + axes.transAxes.inverted()
    placed = sorted((float(to_fraction.transform((x, y))[1]), name, c) for x, y, name, c in ends)
    gap = 12 / (axes.get_window_extent().height * 72 / axes.figure.dpi)
    heights = spread([min(max(place, 0.0), 1.0) for place, _, _ in placed], gap)
    for position, (_, name, colour) in zip(heights, placed, strict=True):
        axes.annotate(
            name,
            (1.0, position),
            xycoords="axes fraction",
            xytext=(4, 0),
            textcoords="offset points",
            color=colour,
            fontsize=8,
            va="center",
            annotation_clip=False,
        )
    axes.set_ylim(low, high)


def spread(places: Sequence[float], gap: float) -> list[float]:
    """Return ascending places in [0, 1] moved apart to at least ``gap``, as near as can be."""
    blocks: list[tuple[float, int]] = []
    for place in places:
        centre, count = place, 1
        # Two blocks that touch become one around their common centre.
        while blocks and centre - gap * count / 2 < blocks[-1][0] + gap * blocks[-1][1] / 2:
            before, size = blocks.pop()
            centre = (before * size + centre * count) / (size + count)
            count += size
            margin = min(gap * (count - 1) / 2, 0.5)
            centre = min(max(centre, margin), 1.0 - margin)
        blocks.append((centre, count))
    return [
        centre + gap * (index - (count - 1) / 2)
        for centre, count in blocks
        for index in range(count)
    ]


def line_colours() -> list[str]:
    """Return the colours of lines in the present look."""
    return list(mpl.rcParams["axes.prop_cycle"].by_key()["color"])


def themed(theme: Theme) -> Any:
    """Return a context in which figures have a look."""
    return mpl.rc_context(settings(theme))
