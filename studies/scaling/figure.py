"""The figure of the study: episodes over the horizon, a panel per family and agent."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, StrMethodFormatter

from studies.reporting.style import MARKERS, line_colors
from studies.scaling.settings import Setting
from studies.scaling.tables import arrivals_of, distinct, settings_in
from studies.statistics.arrival import arrival_estimate

# Inches that the legend needs in one line.
_LEGEND_WIDTH = 7.2


def draw(rows: pd.DataFrame) -> Figure:
    """Draw the medians with their intervals on logarithmic axes; "never" is the dotted line.

    Args:
        rows: of `measure`.
    """
    families, agents = distinct(rows, "family"), distinct(rows, "agent")
    size = (max(2.6 * len(agents) + 1.0, _LEGEND_WIDTH), 2.4 * len(families) + 0.8)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(len(families), len(agents), sharex=True, sharey=True, squeeze=False)
    for family, line in zip(families, panels, strict=True):
        for agent, axes in zip(agents, line, strict=True):
            _panel(axes, rows, family, agent)
        line[0].set_ylabel("episodes")
    for axes in panels[-1]:
        axes.set_xlabel("horizon T")
    drawn = [axes.get_legend_handles_labels() for axes in panels.flat]
    handles = {text: line for pair in drawn for line, text in zip(*pair, strict=True)}
    lines, texts = list(handles.values()), list(handles)
    figure.legend(lines, texts, loc="outside lower center", ncols=len(texts), frameon=False)
    return figure


def _panel(axes: Axes, rows: pd.DataFrame, family: str, agent: str) -> None:
    horizons = distinct(rows, "horizon")
    limit = float(max(rows["budget"]))
    names = [what(one) for one in settings_in(rows)]
    for setting in settings_in(rows):
        if setting.agent != agent:
            continue
        number = list(dict.fromkeys(names)).index(what(setting))
        # Side by side, as many medians agree.
        places = np.array(horizons) * 1.05 ** (number - 1)
        estimates = [arrival_estimate(arrivals_of(rows, family, t, setting)) for t in horizons]
        middle, least, most = (
            np.array([_clipped(found and getattr(found, end), limit) for found in estimates])
            for end in ("value", "low", "high")
        )
        color = line_colors()[number]
        axes.vlines(places, least, most, color=color, linewidth=2.0)
        axes.plot(places, middle, f"{MARKERS[number]}-", color=color, label=what(setting))
    axes.axhline(1.25 * limit, color="0.5", linestyle=":", label="never")
    axes.set_title(f"{family}, {agent.upper()}")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    # Where no run arrives the scale still has numbers on it.
    low, high = axes.get_ylim()
    axes.set_ylim(min(low, limit / 8), max(high, 1.5 * limit))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.set_xticks(horizons, [str(horizon) for horizon in horizons])
    axes.xaxis.set_minor_formatter(NullFormatter())


def what(setting: Setting) -> str:
    """Return in what a setting differs from the agent's plain one."""
    if setting.gamma < 1.0:
        return f"γ = {setting.gamma:g}"
    if setting.density != "terminal":
        return setting.density
    return "plain" if setting.granularity == "token" else setting.granularity


def _clipped(number: float | None, limit: float) -> float:
    """Return a number of episodes, "never" on its line and what is missing nowhere."""
    if number is None:
        return np.nan
    return 1.25 * limit if np.isinf(number) else number
