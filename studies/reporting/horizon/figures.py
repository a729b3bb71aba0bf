"""The two figures of the map: episodes to 90 %, and the regret after training, over the horizon."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator

from rlhf_env.statistics import Estimate
from studies.reporting.curves import LEAST_REGRET
from studies.reporting.horizon.cells import ARRIVED, HorizonCell, HorizonMap, Setting
from studies.reporting.plots import Plot
from studies.reporting.style import (
    DASHES,
    LIGHT,
    LINE_WIDTH,
    MARKERS,
    NARROW,
    Panels,
    shortened,
    subplots,
)

# More than these cannot be told apart in one panel.
MAX_LINES = 12
PANEL = Panels(width=3.1, height=2.3)
# Of the distance between two horizons, over which the lines of a panel are spread.
SPREAD = 0.36
# No more than this, in logarithms of T.
MOST_SPREAD = 0.5
# The line of "never" is this much above the budget, and the panel ends above it.
NEVER_AT, TOP_AT = 2.0, 2.8
SHADE = "#eef1f4"
MAX_TICKS = 10
Measure = Callable[[HorizonCell], Estimate | None]


@dataclass(frozen=True, kw_only=True)
class Look:
    """How the line of a setting is told from others."""

    color: str
    dashes: Any
    marker: str


def horizon_plots(found: HorizonMap) -> list[Plot]:
    """Return both figures of the map."""
    rows = len(panel_rows(found))
    left_out = len(found.settings) - sum(map(len, panel_rows(found).values()))
    note = f" {left_out} more settings are in the table." if left_out else ""
    panels = rows * len(found.families)
    return [
        Plot(
            name="horizon-episodes",
            title=f"Episodes to {ARRIVED} of what there is to gain, over the horizon",
            caption=f"Of the way from the reference's J to J*, {ARRIVED}: median over seeds with "
            "its 95 % bootstrap interval. On the top line: never within "
            f"{found.budget:,} episodes; an interval that reaches it is cut off by the budget. "
            f"Lines are set apart a little, so that equal ones show.{note}",
            draw=lambda stacked: draw_arrivals(found, stacked=stacked),
            panels=panels,
        ),
        Plot(
            name="horizon-regret",
            title="Regret after training, over the horizon",
            caption="J* − J, exact where the policy is a table: interquartile mean over seeds with "
            "its 95 % bootstrap interval. Gray: the untrained reference; above it is worse than "
            f"not training.{note}",
            draw=lambda stacked: draw_regrets(found, stacked=stacked),
            panels=panels,
        ),
    ]


def panel_rows(found: HorizonMap) -> dict[str, list[Setting]]:
    """Return the settings of each row of panels: one row per agent."""
    agents = dict.fromkeys(found.value(setting, "agent") for setting in found.settings)
    return {
        agent: [one for one in found.settings if found.value(one, "agent") == agent][:MAX_LINES]
        for agent in agents
    }


def looks(found: HorizonMap) -> dict[Setting, Look]:
    """Return each setting's look: color by the first axis, dashes by the next, marks by others."""
    # Rows of panels tell agents apart.
    axes = [axis for axis in found.axes if axis != "agent"]
    keys = {
        setting: (
            tuple(found.value(setting, axis) for axis in axes[:1]),
            tuple(found.value(setting, axis) for axis in axes[1:2]),
            tuple(found.value(setting, axis) for axis in axes[2:]),
        )
        for setting in found.settings
    }
    known = [list(dict.fromkeys(key[channel] for key in keys.values())) for channel in range(3)]
    made = {}
    for setting, key in keys.items():
        color, dashes, marker = (known[channel].index(key[channel]) for channel in range(3))
        made[setting] = Look(
            color=LIGHT.lines[color % len(LIGHT.lines)],
            dashes=DASHES[dashes % len(DASHES)],
            # Without a third axis the second one marks, too.
            marker=MARKERS[(marker if len(known[2]) > 1 else dashes) % len(MARKERS)],
        )
    return made


def draw_arrivals(found: HorizonMap, *, stacked: bool) -> Figure:
    """Draw the episodes to 90 %, with those that never arrive on the top line."""
    top = found.budget * NEVER_AT
    figure, axes = _panels(found, lambda cell: cell.arrival, top, stacked=stacked)
    finite = [cell.arrival.low for cell in found.cells if math.isfinite(cell.arrival.low or 1.0)]
    finite += [cell.arrival.value for cell in found.cells if math.isfinite(cell.arrival.value)]
    lowest = min((value for value in finite if value), default=found.budget / 10) / 1.4
    ticks = _nice(lowest, found.budget) or [found.budget]
    for ax in axes.flat:
        ax.set_ylim(lowest, found.budget * TOP_AT)
        ax.axhspan(found.budget * math.sqrt(NEVER_AT), found.budget * TOP_AT, color=SHADE, zorder=0)
        ax.yaxis.set_major_locator(FixedLocator([*ticks, top]))
        ax.yaxis.set_minor_locator(NullLocator())
        ax.set_yticklabels([*(f"{tick:,.0f}" for tick in ticks), "never"])
    _label(axes, f"episodes to {ARRIVED}")
    return figure


def draw_regrets(found: HorizonMap, *, stacked: bool) -> Figure:
    """Draw the regret after training, beside that of the reference."""
    figure, axes = _panels(found, lambda cell: cell.regret, math.nan, stacked=stacked)
    for place, ax in enumerate(axes.flat):
        family = found.families[place % len(found.families)]
        start = {cell.horizon: cell.start for cell in found.cells if cell.family == family}
        known = sorted(start)
        ax.plot(known, [start[t] for t in known], color="#8a96a3", linewidth=1.0, zorder=1)
    bounds = np.array([ax.get_ylim() for ax in axes.flat])
    low, high = float(bounds[:, 0].min()), float(bounds[:, 1].max())
    for ax in axes.flat:
        ax.set_ylim(low, high)
        ax.yaxis.set_major_locator(FixedLocator(_nice(low, high)))
        ax.yaxis.set_major_formatter("{x:g}")
        ax.yaxis.set_minor_locator(NullLocator())
    _label(axes, "J* − J")
    return figure


def _panels(
    found: HorizonMap, measure: Measure, top: float, *, stacked: bool
) -> tuple[Figure, Any]:
    rows, shown = panel_rows(found), looks(found)
    settings = list(dict.fromkeys(one for row in rows.values() for one in row))
    has_agents = len(rows) > 1
    without = ["agent"] if has_agents or len(settings) > 1 else []
    named = dict.fromkeys((found.name(one, without), shown[one]) for one in settings)
    legend = [_sample(shortened(name, 3.2), look) for name, look in named]
    figure, axes = subplots(
        len(rows), len(found.families), panels=PANEL, legend=legend, stacked=stacked
    )
    for (row, column), ax in np.ndenumerate(axes):
        agent, family = list(rows)[row], found.families[column]
        width = NARROW - 1.0 if stacked else PANEL.width
        ax.set_title(shortened(f"{family}, {agent}", width))
        ax.set_xscale("log")
        ax.set_yscale("log")
        lines = rows[agent]
        for place, setting in enumerate(lines):
            dodge = _dodge(found, place, len(lines))
            _draw_line(ax, found.line(family, setting), measure, shown[setting], dodge, top)
        _scale_horizons(ax, found)
    return figure, axes


def _draw_line(
    ax: Axes,
    cells: Sequence[HorizonCell],
    measure: Measure,
    look: Look,
    dodge: float,
    top: float,
) -> None:
    known = [(cell.horizon * dodge, one) for cell in cells if (one := measure(cell)) is not None]
    if not known:
        return
    x = np.array([horizon for horizon, _ in known])
    # Without an interval, a point is its own.
    ends = [(one.value if end is None else end) for _, one in known for end in (one.low, one.high)]
    low, high = _placed(ends[::2], top), _placed(ends[1::2], top)
    middle = _placed([one.value for _, one in known], top)
    ax.plot(x, middle, color=look.color, linestyle=look.dashes, linewidth=LINE_WIDTH)
    ax.vlines(x, low, high, color=look.color, linewidth=1.2)
    is_in = np.array([math.isfinite(one.value) for _, one in known])
    style = {"linestyle": "none", "marker": look.marker, "markersize": 5, "color": look.color}
    ax.plot(x[is_in], middle[is_in], **style)
    ax.plot(x[~is_in], middle[~is_in], **style, markerfacecolor=LIGHT.paper)


def _placed(numbers: Sequence[float], top: float) -> np.ndarray:
    found = np.maximum(np.asarray(numbers, dtype=float), LEAST_REGRET)
    return np.where(np.isinf(found), top, found)


def _dodge(found: HorizonMap, place: int, count: int) -> float:
    """Return the factor by which a line is moved to the side."""
    return math.exp(_spread(found) * (place / (count - 1) - 0.5)) if count > 1 else 1.0


def _spread(found: HorizonMap) -> float:
    """Return the width over which the lines of a panel are spread, in logarithms of T."""
    return min(MOST_SPREAD, SPREAD * float(np.diff(np.log(found.horizons)).min()))


def _scale_horizons(ax: Axes, found: HorizonMap) -> None:
    low, high = found.horizons[0], found.horizons[-1]
    margin = (high / low) ** 0.05 * math.exp(_spread(found) / 2)
    ax.set_xlim(low / margin, high * margin)
    ax.xaxis.set_major_locator(FixedLocator(found.horizons))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xticklabels([str(horizon) for horizon in found.horizons])


def _label(axes: Any, name: str) -> None:
    for ax in axes.flat:
        ax.set_xlabel("horizon T (tokens)")
        ax.set_ylabel(name)
        ax.label_outer(remove_inner_ticks=True)


def _sample(name: str, look: Look) -> Line2D:
    return Line2D(
        [],
        [],
        label=name,
        color=look.color,
        linestyle=look.dashes,
        marker=look.marker,
        markersize=5,
    )


def _nice(low: float, high: float) -> list[float]:
    """Return 1, 2 and 5 times the powers of ten between two numbers."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = [step * 10.0**power for power in powers for step in (1, 2, 5)]
    found = [step for step in steps if low <= step <= high]
    # Over many powers of ten, their labels would overlap.
    return found if len(found) <= MAX_TICKS else [10.0**p for p in powers if low <= 10.0**p <= high]
