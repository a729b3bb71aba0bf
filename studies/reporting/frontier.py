"""What a score costs in KL: every run, every setting, and the best that is possible."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from rlhf_env.statistics import Estimate
from studies.reporting.lines import Grid, Line
from studies.reporting.style import share_scales, shortened, subplots
from studies.reporting.titles import LABELS
from studies.statistics.intervals import pooled_estimate

BEST = "#8a94a0"
Center = tuple[Estimate, Estimate]


def centers(grid: Grid) -> list[list[tuple[Line, Center]]]:
    """Return every panel's lines with the estimates of KL and score; none for lines without."""
    found = []
    for panel in grid.panels:
        here = []
        for line in panel.lines:
            kl, score = (
                pooled_estimate([runs[name] for runs in line.strata]) for name in ("kl", "score")
            )
            if kl is not None and score is not None:
                here.append((line, (kl, score)))
        found.append(here)
    return found


def draw_frontier(
    grid: Grid, found: list[list[tuple[Line, Center]]], best: pd.DataFrame, *, stacked: bool
) -> Figure:
    """Draw the score after training over the KL it cost: panels by granularity and density.

    Args:
        grid: the panels.
        found: of `centers`.
        best: KL and score of exactly optimal policies; may be empty.
        stacked: draw the panels in one column.
    """
    samples = [
        Line2D([], [], linestyle="", label=shortened(line.name, 3.2), **_look(line))
        for line in grid.lines
    ]
    figure, axes = subplots(grid.rows, grid.columns, legend=samples, stacked=stacked)
    for ax, panel, here in zip(axes.flat, grid.panels, found, strict=True):
        ax.set_title(panel.title)
        for line, center in here:
            _draw_line(ax, line, center)
    share_scales(axes, LABELS["kl"], LABELS["score"])
    for ax in axes.flat if len(best) else ():
        # The optimum extends to where no run has been.
        ax.autoscale(False)
        ax.plot(best["kl"], best["score"], color=BEST, zorder=1)
    return figure


def _draw_line(ax: Axes, line: Line, center: Center) -> None:
    runs = pd.concat(line.strata)
    look = _look(line)
    ax.plot(runs["kl"], runs["score"], linestyle="", markersize=3.5, alpha=0.4, **look)
    kl, score = center
    ax.errorbar(
        kl.value,
        score.value,
        xerr=_arms(kl),
        yerr=_arms(score),
        elinewidth=1.0,
        markersize=5 + 1.6 * line.width,
        markeredgecolor=ax.get_facecolor(),
        **look,
    )


def _arms(found: Estimate) -> np.ndarray | None:
    if found.low is None or found.high is None:
        return None
    # Rounding may put the estimate a hair outside of its own interval.
    return np.maximum([[found.value - found.low], [found.high - found.value]], 0.0)


def _look(line: Line) -> dict[str, Any]:
    return {"color": line.color, "marker": line.marker}
