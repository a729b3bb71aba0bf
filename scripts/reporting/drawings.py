"""The figures of an ablation: each a function of its tables that matplotlib does not keep.

Each is drawn wide, one column of panels per density, or stacked in one column for narrow screens.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D

from scripts.reporting.intervals import band, interquartile_mean, pooled_estimate
from scripts.reporting.lines import LINE_AXES, Line, lines, values
from scripts.reporting.style import facets, legend
from scripts.reporting.tables import CELL, groups, successes

TITLES = {
    "j_ratio": "J / J* (1 = the exact optimum)",
    "regret": "regret J* − J",
    "score": "score (proxy reward)",
    "gold": "gold score",
    "kl": "KL to the reference (nats per response)",
    "entropy": "entropy (nats per token)",
    "response_length": "response length (tokens)",
}
GOLD_DASHES: tuple[tuple[str, Literal["-", ":"]], ...] = (("gold", "-"), ("proxy", ":"))
# Colours of values that differ by less than this share would exaggerate the difference.
LEAST_SPAN = 0.1


@dataclass(frozen=True, kw_only=True)
class Tables:
    """What the figures are drawn from.

    Attributes:
        results: one row per run that ended well.
        curves: one row per run and update, with the axes of its run.
        frontier: KL and score of exactly optimal policies; may be empty.
    """

    results: pd.DataFrame
    curves: pd.DataFrame
    frontier: pd.DataFrame

    @classmethod
    def of(cls, results: pd.DataFrame, curves: pd.DataFrame, frontier: pd.DataFrame) -> Tables:
        """Keep what ended well, and write every axis' value as it is read."""
        if results.empty or "status" not in results:
            return cls(results=pd.DataFrame(), curves=pd.DataFrame(), frontier=frontier)
        good = successes(results)
        axes = good.filter(items=["run_id", "seed", *CELL])
        joined = curves.merge(axes, on="run_id") if len(curves) else pd.DataFrame()
        return cls(results=good, curves=joined, frontier=frontier)


def draw_curves(tables: Tables, metric: str, *, stacked: bool = False) -> Figure:
    """Draw a metric over updates: facets by granularity and density, a line per agent."""
    curves = tables.curves.dropna(subset=[metric])
    figure, places = _density_facets(curves, stacked)
    for place, here in places:
        for line in lines(curves, here):
            _draw_line(place, line, metric)
        if metric == "regret":
            place.set_yscale("log")
            place.yaxis.set_major_formatter("{x:g}")
    _label_outer(places, "update", TITLES[metric])
    legend(figure, [_sample(line) for line in lines(curves, curves)], stacked=stacked)
    return figure


def draw_gold(tables: Tables, *, stacked: bool = False) -> Figure:
    """Draw proxy and gold score over the square root of the KL that training has spent."""
    curves = tables.curves.dropna(subset=["gold", "score", "kl"])
    figure, places = _density_facets(curves, stacked)
    for place, here in places:
        for line in lines(curves, here):
            middles = {name: _smoothed(line, name) for name in ("kl", "gold", "score")}
            distance = np.sqrt(np.maximum(middles["kl"], 0.0))
            place.plot(distance, middles["score"], color=line.colour, linestyle=":")
            place.plot(distance, middles["gold"], color=line.colour)
    _label_outer(places, "√KL to the reference (√nats)", "score")
    samples = [
        Line2D([], [], color=line.colour, label=f"{line.name} {kind}", linestyle=style)
        for line in lines(curves, curves)
        for kind, style in GOLD_DASHES
    ]
    legend(figure, samples, stacked=stacked)
    return figure


def draw_heatmap(tables: Tables, metric: str, *, stacked: bool = False) -> Figure:
    """Draw a metric over discount and density: facets by granularity and agent."""
    results = tables.results
    names = ("granularity", "agent", "gamma", "density")
    granularities, agents, gammas, densities = (values(results, name) for name in names)
    figure, axes = facets(
        len(granularities),
        len(agents),
        width=1.2 + 0.9 * len(densities),
        height=0.8 + 0.45 * len(gammas),
        stacked=stacked,
    )
    table = _pooled(results, names, metric)
    images = []
    for (i, j), place in np.ndenumerate(axes):
        images.append(_draw_cells(place, table[i, j], _bounds(table)))
        place.set_title(f"{agents[j]}, {granularities[i]}")
        place.set_xticks(range(len(densities)), densities)
        place.set_yticks(range(len(gammas)), [f"γ {gamma}" for gamma in gammas])
        place.tick_params(length=0)
    place = "bottom" if stacked else "right"
    bar = figure.colorbar(images[0], ax=axes, location=place, fraction=0.04, aspect=30)
    bar.set_label(TITLES[metric])
    bar.outline.set_visible(False)  # type: ignore[operator]
    return figure


def draw_frontier(tables: Tables, *, stacked: bool = False) -> Figure:
    """Draw the score after training over the KL it cost: facets by granularity and density."""
    results = tables.results.dropna(subset=["kl", "score"])
    figure, places = _density_facets(results, stacked)
    for place, here in places:
        for line in lines(results, here):
            dots: dict[str, Any] = {"color": line.colour, "marker": line.marker, "linestyle": ""}
            place.plot(line.runs["kl"], line.runs["score"], markersize=3.5, alpha=0.4, **dots)
            middle = [[float(interquartile_mean(line.runs[name]))] for name in ("kl", "score")]
            place.plot(
                *middle,
                markersize=5 + 1.6 * line.width,
                markeredgecolor=place.get_facecolor(),
                **dots,
            )
    limits = places[0][0].axis()
    for place, _ in places if len(tables.frontier) else ():
        place.plot(tables.frontier["kl"], tables.frontier["score"], color="#8a94a0", zorder=1)
        place.axis(limits)
    _label_outer(places, "KL to the reference (nats per response)", TITLES["score"])
    samples = [
        Line2D([], [], color=line.colour, marker=line.marker, linestyle="", label=line.name)
        for line in lines(results, results)
    ]
    legend(figure, samples, stacked=stacked)
    return figure


def _pooled(results: pd.DataFrame, names: tuple[str, ...], metric: str) -> np.ndarray:
    """Return the metric at every combination of the named axes; NaN where there is no run."""
    known = [values(results, name) for name in names]
    table = np.full([len(found) for found in known], np.nan)
    for key, cell in groups(results, names):
        strata = [rows[metric] for _, rows in groups(cell, LINE_AXES)]
        found = pooled_estimate(strata)
        place = tuple(part.index(value) for part, value in zip(known, key, strict=True))
        table[place] = np.nan if found is None else found.value
    return table


def _bounds(table: np.ndarray) -> tuple[float, float]:
    low, high = float(np.nanmin(table)), float(np.nanmax(table))
    missing = max(0.0, LEAST_SPAN * max(abs(low), abs(high)) - (high - low))
    return low - missing, high


def _draw_cells(place: Axes, table: np.ndarray, bounds: tuple[float, float]) -> AxesImage:
    low, high = bounds
    image = place.imshow(table, cmap="cividis", vmin=low, vmax=high, aspect="auto")
    place.grid(visible=False)
    for (row, column), value in np.ndenumerate(table):
        if np.isfinite(value):
            is_light = float(np.asarray(image.norm(value))) > 0.55
            ink = "#111111" if is_light else "#ffffff"
            place.text(column, row, f"{value:.3f}", ha="center", va="center", color=ink)
    return image


def _draw_line(place: Axes, line: Line, metric: str) -> None:
    updates, runs = line.matrix(metric)
    # A regret of exactly 0 has no logarithm.
    shown = np.maximum(runs, 1e-6) if metric == "regret" else runs
    middle, low, high = _band(tuple(map(tuple, shown.tolist())))
    place.fill_between(updates, low, high, color=line.colour, alpha=0.16, linewidth=0)
    place.plot(updates, middle, **line.look)


# A figure is drawn four times: wide and stacked, light and dark.
@lru_cache(maxsize=1024)
def _band(runs: tuple[tuple[float, ...], ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return band(runs)


def _sample(line: Line) -> Line2D:
    return Line2D([], [], label=line.name, **line.look)


def _smoothed(line: Line, metric: str) -> np.ndarray:
    """Return the interquartile mean at every update, averaged over a twentieth of them."""
    updates, runs = line.matrix(metric)
    middle = pd.Series(interquartile_mean(runs, axis=0))
    window = max(1, len(updates) // 20)
    return np.asarray(middle.rolling(window, center=True, min_periods=1).mean())


def _density_facets(
    curves: pd.DataFrame, stacked: bool
) -> tuple[Figure, list[tuple[Axes, pd.DataFrame]]]:
    rows, columns = values(curves, "granularity"), values(curves, "density")
    figure, axes = facets(len(rows), len(columns), stacked=stacked)
    places = []
    for (i, j), place in np.ndenumerate(axes):
        is_here = (curves["granularity"] == rows[i]) & (curves["density"] == columns[j])
        place.set_title(f"{rows[i]}, {columns[j]}")
        places.append((place, curves[is_here]))
    return figure, places


def _label_outer(places: list[tuple[Axes, pd.DataFrame]], x: str, y: str) -> None:
    for place, _ in places:
        place.set_xlabel(x)
        place.set_ylabel(y)
        place.label_outer(remove_inner_ticks=True)
