"""The figure of the study: what is gained update by update, a panel per task."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from studies.reporting.style import MARKERS, line_colors
from studies.statistics.intervals import estimate

# Inches that the three columns of the legend need.
_LEGEND_WIDTH = 7.0


def draw(rows: pd.DataFrame) -> Figure:
    """Draw interquartile means over seeds with their intervals.

    Args:
        rows: of `measure`.
    """
    tasks = list(dict.fromkeys(rows["task"]))
    figure = Figure(figsize=(max(3.4 * len(tasks) + 0.6, _LEGEND_WIDTH), 3.6), layout="constrained")
    panels = figure.subplots(1, len(tasks), squeeze=False)[0]
    for axes, task in zip(panels, tasks, strict=True):
        _panel(axes, rows.loc[rows["task"] == task], task)
    panels[0].set_ylabel("share of J* − J of the reference gained")
    lines, texts = panels[0].get_legend_handles_labels()
    figure.legend(lines, texts, loc="outside lower center", ncols=3, frameon=False)
    return figure


def _panel(axes: Axes, rows: pd.DataFrame, task: str) -> None:
    arms = list(dict.fromkeys(rows["arm"]))
    for number, arm in enumerate(arms):
        part = rows.loc[rows["arm"] == arm]
        found = [estimate(here["gained"]) for _, here in part.groupby("update")]
        updates = np.array(sorted(set(part["update"])), dtype=float)
        # Side by side, as many of them agree.
        places = updates + 0.07 * (number - (len(arms) - 1) / 2)
        color = line_colors()[number]
        values = [np.nan if one is None else one.value for one in found]
        ends = [
            (np.nan, np.nan) if one is None or one.low is None else (one.low, one.high)
            for one in found
        ]
        axes.vlines(places, *zip(*ends, strict=True), color=color, linewidth=1.2)
        marker = MARKERS[number % len(MARKERS)]
        axes.plot(places, values, f"{marker}-", color=color, markersize=4, label=arm)
    axes.axhline(0.0, color="0.5", linestyle=":")
    axes.set_title(task)
    axes.set_xlabel("updates of the policy")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
