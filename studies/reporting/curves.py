"""A metric over updates: interquartile means and their bands, prepared once and drawn twice."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from rlhf_env.statistics import Floats
from studies.reporting.lines import Grid, Line
from studies.reporting.style import share_scales, shortened, subplots
from studies.reporting.titles import LABELS
from studies.statistics.intervals import BAND_RESAMPLES, bands, interquartile_mean

# A regret of exactly 0 has no logarithm.
LEAST_REGRET = 1e-6
# Numbers resampled for all bands of a figure together. The bands of a grid of thousands of runs are
# computed at fewer updates and joined by straight lines; the curves themselves never are.
BAND_BUDGET = 25_000_000
FEWEST_POINTS = 8


@dataclass(frozen=True, kw_only=True)
class Band:
    """A line with its band."""

    line: Line
    """Its runs and style."""
    updates: Floats
    """[U]."""
    center: Floats
    """[U] interquartile mean."""
    low: Floats
    """[U] lower end of its interval; NaN where there is none."""
    high: Floats
    """[U] upper end of its interval; NaN where there is none."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The numbers of a line: its updates [U], and per setting one row per run, [N, U]."""

    line: Line
    updates: Floats
    strata: list[Floats]


def metric_by_run(curves: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return a metric with one row per run and one column per update; NaN where there is none."""
    known = curves.filter(["run_id", "update", metric]).dropna()
    # A damaged table may hold an update twice; the later row is the newer.
    once = known.drop_duplicates(["run_id", "update"], keep="last")
    return once.pivot(index="run_id", columns="update", values=metric).sort_index(axis=1)


def rows_of(wide: pd.DataFrame, run_ids: Iterable[Any]) -> Floats:
    """Return the rows [N, U] of those runs that `metric_by_run` has."""
    places = wide.index.get_indexer(pd.Index(list(run_ids)))
    return wide.to_numpy(float)[places[places >= 0]]


def metric_bands(grid: Grid, curves: pd.DataFrame, metric: str) -> list[list[Band]]:
    """Return every panel's lines with their bands; none for lines without a number.

    Args:
        grid: the panels.
        curves: one row per run and update.
        metric: a column of it.
    """
    wide = metric_by_run(curves, metric)
    points = max(FEWEST_POINTS, BAND_BUDGET // (BAND_RESAMPLES * max(1, len(wide))))
    panels = [[_measured(line, wide) for line in panel.lines] for panel in grid.panels]
    known = [one for panel in panels for one in panel if len(one.updates)]
    chosen = [_spread(len(one.updates), points) for one in known]
    pairs = zip(known, chosen, strict=True)
    found = bands([[runs[:, columns] for runs in one.strata] for one, columns in pairs])
    made = {
        id(one): _band(one, columns, *ends)
        for one, columns, ends in zip(known, chosen, found, strict=True)
    }
    return [[made[id(one)] for one in panel if id(one) in made] for panel in panels]


def draw_curves(grid: Grid, found: list[list[Band]], metric: str, *, stacked: bool) -> Figure:
    """Draw a metric over updates: panels by granularity and density, a line per setting."""
    samples = [Line2D([], [], label=shortened(line.name, 3.2), **line.look) for line in grid.lines]
    figure, axes = subplots(grid.rows, grid.columns, legend=samples, stacked=stacked)
    for ax, panel, here in zip(axes.flat, grid.panels, found, strict=True):
        ax.set_title(shortened(panel.title, ax.get_window_extent().width / figure.dpi))
        for one in here:
            _draw_band(ax, one, is_log=metric == "regret")
        if metric == "regret":
            ax.set_yscale("log")
            ax.yaxis.set_major_formatter("{x:g}")
    share_scales(axes, "update", LABELS[metric])
    return figure


def _measured(line: Line, wide: pd.DataFrame) -> Measured:
    rows = (rows_of(wide, runs["run_id"]) for runs in line.strata)
    strata = [runs for runs in rows if len(runs)]
    if not strata:
        return Measured(line=line, updates=np.empty(0), strata=[])
    # If one of the runs has no number, the others cannot replace it.
    is_known = np.isfinite(np.concatenate(strata)).all(axis=0)
    updates = wide.columns.to_numpy(float)[is_known]
    return Measured(line=line, updates=updates, strata=[runs[:, is_known] for runs in strata])


def _spread(count: int, most: int) -> np.ndarray:
    """Return at most so many places out of so many, the first and the last among them."""
    return np.unique(np.linspace(0, count - 1, min(most, count)).astype(int))


def _band(one: Measured, chosen: np.ndarray, low: Floats, high: Floats) -> Band:
    ends = [np.interp(one.updates, one.updates[chosen], end) for end in (low, high)]
    center = interquartile_mean(np.concatenate(one.strata), axis=0)
    return Band(line=one.line, updates=one.updates, center=center, low=ends[0], high=ends[1])


def _draw_band(ax: Axes, one: Band, *, is_log: bool) -> None:
    center, low, high = one.center, one.low, one.high
    if is_log:
        center, low, high = (np.maximum(row, LEAST_REGRET) for row in (center, low, high))
    if np.isfinite(low).any():
        ax.fill_between(one.updates, low, high, color=one.line.color, alpha=0.16, linewidth=0)
    ax.plot(one.updates, center, **one.line.look)
