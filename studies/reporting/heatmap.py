"""The grid of discount and density as a heat map: an estimate with its interval in every cell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from rlhf_env.statistics import Estimate
from studies.reporting.axes import axes_of, groups, limited, values
from studies.reporting.style import NARROW, RIGHT, Panels, shortened, subplots
from studies.reporting.titles import TITLES
from studies.statistics.intervals import estimates, pooled_estimate

AXES = ("granularity", "agent", "gamma", "density")
MOST = {"granularity": 6, "agent": 6, "gamma": 12, "density": 8}
# Colors of values that differ by less than this share would exaggerate the difference.
LEAST_SPAN = 0.1
# From paper to ink, so that it does the same on dark pages.
COLORS = "Blues"
# Inches.
CELL_WIDTH, LINE_HEIGHT = 1.05, 0.2
LEFT, BOTTOM, GAP, SLANTED = 0.7, 0.95, 0.6, 0.45
# Points, and the inches that a letter of the large size takes.
LARGE, SMALL, LETTER = 8.0, 6.5, 0.062
Key = tuple[str, str, str, str]


@dataclass(frozen=True, kw_only=True)
class HeatMap:
    """What a heat map shows."""

    metric: str
    """Of all cells."""
    known: Mapping[str, list[str]]
    """Axis -> its values, in the grid's order."""
    cells: Mapping[Key, Estimate]
    """Granularity, agent, gamma and density -> the estimate; no entry without a run, nor where the
    runs have no such figure.
    """
    unmeasured: frozenset[Key]
    """The cells of runs that ended well without the figure."""
    note: str
    """On what is left out or pooled, as a caption's last sentences; may be empty."""


@dataclass(frozen=True, kw_only=True)
class CellLook:
    """How the numbers are written into the cells: the lines of an interval, and points."""

    lines: int
    size: float


def heat_map(results: pd.DataFrame, metric: str) -> HeatMap:
    """Return the metric at every combination of discount and density.

    Args:
        results: one task's runs that ended well, every axis' value as it is read.
        metric: a column of it.
    """
    shown, left_out = limited(results, MOST)
    others = [name for name in axes_of(shown) if name not in AXES]
    found = {key: [rows[metric] for _, rows in groups(cell, others)] for key, cell in _cells(shown)}
    alone = [key for key, strata in found.items() if len(strata) == 1]
    single = estimates([found[key][0] for key in alone])
    known = dict(zip(alone, single, strict=True))
    known |= {key: pooled_estimate(strata) for key, strata in found.items() if key not in known}
    pooled = " Settings that differ in other axes are pooled." if len(alone) < len(found) else ""
    return HeatMap(
        metric=metric,
        known={name: values(shown, name) for name in AXES},
        cells={key: one for key, one in known.items() if one is not None},
        unmeasured=frozenset(key for key, one in known.items() if one is None),
        note=pooled + left_out,
    )


def draw_heat_map(found: HeatMap, *, stacked: bool) -> Figure:
    """Draw it: panels by granularity and agent."""
    granularities, agents, gammas, densities = (found.known[name] for name in AXES)
    bounds = _bounds([one.value for one in found.cells.values()])
    width = NARROW - LEFT - RIGHT if stacked else CELL_WIDTH * len(densities)
    look = _cell_look(found, width / len(densities))
    is_long = max(map(len, densities)) * LETTER > width / len(densities)
    sizes = Panels(
        width=width,
        height=LINE_HEIGHT * (look.lines + 1) * len(gammas),
        left=LEFT,
        bottom=BOTTOM + SLANTED * is_long,
        gap=GAP + SLANTED * is_long,
    )
    figure, axes = subplots(len(granularities), len(agents), panels=sizes, stacked=stacked)
    for (i, j), ax in np.ndenumerate(axes):
        keys = [
            [(granularities[i], agents[j], gamma, density) for density in densities]
            for gamma in gammas
        ]
        _draw_cells(ax, found, keys, bounds, look)
        ax.set_title(shortened(f"{agents[j]}, {granularities[i]}", width))
        slant = {"rotation": 25, "ha": "right", "rotation_mode": "anchor"} if is_long else {}
        names = [shortened(name, 1.5) for name in densities]
        ax.set_xticks(range(len(densities)), names, fontsize=8, **slant)
        is_outer = stacked or j == 0
        ax.set_yticks(range(len(gammas)), [f"γ {gamma}" if is_outer else "" for gamma in gammas])
        ax.tick_params(length=0, labelbottom=True)
    _draw_bar(figure, bounds, TITLES[found.metric])
    return figure


def _cell_look(found: HeatMap, width: float) -> CellLook:
    """Return letters that fit into cells of a width in inches: an interval in one line or two."""
    longest = max(len(one.interval) for one in found.cells.values())
    size = {lines: width / (LETTER * max(longest / lines, 5)) for lines in (1, 2)}
    lines = 1 if size[1] >= SMALL / LARGE else 2
    return CellLook(lines=lines, size=min(LARGE, size[lines] * LARGE))


def _cells(results: pd.DataFrame) -> list[tuple[Key, pd.DataFrame]]:
    return [((key[0], key[1], key[2], key[3]), rows) for key, rows in groups(results, AXES)]


def _bounds(numbers: list[float]) -> tuple[float, float]:
    low, high = min(numbers), max(numbers)
    missing = max(0.0, LEAST_SPAN * max(abs(low), abs(high)) - (high - low))
    return low - missing, high


def _draw_cells(
    ax: Axes,
    found: HeatMap,
    keys: list[list[Key]],
    bounds: tuple[float, float],
    look: CellLook,
) -> None:
    cells = [[found.cells.get(key) for key in row] for row in keys]
    numbers = [[np.nan if one is None else one.value for one in row] for row in cells]
    image = ax.imshow(np.array(numbers), cmap=COLORS, vmin=bounds[0], vmax=bounds[1], aspect="auto")
    ax.grid(visible=False)
    for (row, column), value in np.ndenumerate(np.array(numbers)):
        one = cells[row][column]
        interval = "" if one is None else one.interval.replace(" ", "\n" if look.lines > 1 else " ")
        absent = "not\nmeasured" if keys[row][column] in found.unmeasured else "no run"
        text = absent if one is None else f"{value:.3f}\n{interval}".rstrip()
        is_dark = one is not None and float(np.asarray(image.norm(value))) > 0.55
        ink = "#ffffff" if is_dark else "#111111"
        ax.text(column, row, text, ha="center", va="center", color=ink, fontsize=look.size)


def _draw_bar(figure: Figure, bounds: tuple[float, float], title: str) -> None:
    """Draw the scale of the colors under the panels."""
    width, height = figure.get_size_inches()
    box = (LEFT / width, 0.45 / height, min(3.2, width - LEFT - 0.2) / width, 0.11 / height)
    colors = ScalarMappable(Normalize(*bounds), COLORS)
    bar = figure.colorbar(colors, cax=figure.add_axes(box), orientation="horizontal")
    bar.set_label(title, fontsize=8)
    bar.ax.tick_params(labelsize=8)
    bar.outline.set_visible(False)  # type: ignore[operator]
