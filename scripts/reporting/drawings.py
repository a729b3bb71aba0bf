"""The figures of an ablation: each a function of its tables that matplotlib does not keep."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from scripts.reporting.intervals import band, interquartile_mean, pooled_estimate
from scripts.reporting.style import DASHES, MARKERS, facets, label_lines, line_colours
from scripts.reporting.tables import CELL, groups, successes, varied_axes

TITLES = {
    "j_ratio": "J / J* (1 = the exact optimum)",
    "regret": "regret J* − J",
    "score": "score (proxy reward)",
    "gold": "gold score",
    "kl": "KL to the reference (nats per response)",
    "entropy": "entropy (nats per token)",
    "response_length": "response length (tokens)",
}
# Axes that facets do not show: they make the lines.
LINE_AXES = ("agent", "gamma", "gae_lambda", "kl_coef", "group_size")
SYMBOLS = {"gamma": "γ", "gae_lambda": "λ", "kl_coef": "β", "group_size": "G"}


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


@dataclass(frozen=True, kw_only=True)
class Line:
    """The runs of one line: they differ in their seeds only.

    Attributes:
        name: as it is written beside the line.
        colour: the agent's.
        dashes: of the other settings, where lines are drawn.
        marker: of the other settings, where points are.
        runs: their rows.
    """

    name: str
    colour: str
    dashes: object
    marker: str
    runs: pd.DataFrame

    def matrix(self, metric: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the updates [U] and the metric of every run at them, [N, U]."""
        wide = self.runs.pivot_table(index="seed", columns="update", values=metric)
        return wide.columns.to_numpy(float), wide.to_numpy(float)


def draw_curves(tables: Tables, metric: str) -> Figure:
    """Draw a metric over updates: facets by granularity and density, a line per agent."""
    curves = tables.curves.dropna(subset=[metric])
    figure, places = _density_facets(curves)
    ends: dict[Axes, list[tuple[float, float, str, str]]] = {}
    for place, here in places:
        ends[place] = [_draw_line(place, line, metric) for line in _lines(curves, here)]
        if metric == "regret":
            place.set_yscale("log")
            place.yaxis.set_major_formatter("{x:g}")
    _label_outer(places, "update", TITLES[metric])
    _name_lines(figure, ends)
    return figure


def draw_gold(tables: Tables) -> Figure:
    """Draw proxy and gold score over the square root of the KL that training has spent."""
    curves = tables.curves.dropna(subset=["gold", "score", "kl"])
    figure, places = _density_facets(curves)
    ends: dict[Axes, list[tuple[float, float, str, str]]] = {}
    for place, here in places:
        ends[place] = []
        for line in _lines(curves, here):
            middles = {name: _smoothed(line, name) for name in ("kl", "gold", "score")}
            distance = np.sqrt(np.maximum(middles["kl"], 0.0))
            place.plot(distance, middles["score"], color=line.colour, linestyle=":")
            place.plot(distance, middles["gold"], color=line.colour)
            ends[place].append((distance[-1], middles["gold"][-1], line.name, line.colour))
    _label_outer(places, "√KL to the reference (√nats)", "score")
    _name_lines(figure, ends)
    return figure


def draw_heatmap(tables: Tables, metric: str) -> Figure:
    """Draw a metric over discount and density: facets by granularity and agent."""
    results = tables.results
    agents, granularities = _values(results, "agent"), _values(results, "granularity")
    gammas, densities = _values(results, "gamma"), _values(results, "density")
    figure, axes = facets(
        len(granularities),
        len(agents),
        width=1.2 + 0.9 * len(densities),
        height=0.8 + 0.45 * len(gammas),
    )
    shape = (len(granularities), len(agents), len(gammas), len(densities))
    values = np.full(shape, np.nan)
    for index in np.ndindex(shape):
        i, j, k, m = index
        keys = (granularities[i], agents[j], gammas[k], densities[m])
        named = zip(("granularity", "agent", "gamma", "density"), keys, strict=True)
        cell = results.loc[np.logical_and.reduce([results[name] == key for name, key in named])]
        strata = [rows[metric] for _, rows in groups(cell, LINE_AXES)]
        found = pooled_estimate(strata)
        values[index] = np.nan if found is None else found.value
    bounds = (float(np.nanmin(values)), float(np.nanmax(values)))
    for (i, j), place in np.ndenumerate(axes):
        _draw_cells(place, values[i, j], bounds)
        place.set_title(f"{agents[j]}, {granularities[i]}")
        place.set_xticks(range(len(densities)), densities)
        place.set_yticks(range(len(gammas)), [f"γ {gamma}" for gamma in gammas])
    return figure


def draw_frontier(tables: Tables) -> Figure:
    """Draw the score after training over the KL it cost: facets by granularity and density."""
    results = tables.results.dropna(subset=["kl", "score"])
    figure, places = _density_facets(results)
    looks: dict[str, Line] = {}
    for place, here in places:
        for line in _lines(results, here):
            looks[line.name] = line
            dots: dict[str, Any] = {"color": line.colour, "marker": line.marker, "linestyle": ""}
            place.plot(line.runs["kl"], line.runs["score"], markersize=3.5, alpha=0.4, **dots)
            middle = [[float(interquartile_mean(line.runs[name]))] for name in ("kl", "score")]
            place.plot(*middle, markersize=8, markeredgecolor=place.get_facecolor(), **dots)
    limits = places[0][0].axis()
    for place, _ in places if len(tables.frontier) else ():
        place.plot(tables.frontier["kl"], tables.frontier["score"], color="#8a94a0", zorder=1)
        place.axis(limits)
    _label_outer(places, "KL to the reference (nats per response)", TITLES["score"])
    handles = [
        Line2D([], [], color=line.colour, marker=line.marker, linestyle="", label=name)
        for name, line in looks.items()
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=6, frameon=False)
    return figure


def _draw_cells(place: Axes, values: np.ndarray, bounds: tuple[float, float]) -> None:
    low, high = bounds
    image = place.imshow(values, cmap="cividis", vmin=low, vmax=high, aspect="auto")
    place.grid(visible=False)
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            is_light = float(np.asarray(image.norm(value))) > 0.55
            ink = "#111111" if is_light else "#ffffff"
            place.text(column, row, f"{value:.3f}", ha="center", va="center", color=ink)


def _draw_line(place: Axes, line: Line, metric: str) -> tuple[float, float, str, str]:
    updates, runs = line.matrix(metric)
    # A regret of exactly 0 has no logarithm.
    middle, low, high = band(np.maximum(runs, 1e-6) if metric == "regret" else runs)
    place.plot(updates, middle, color=line.colour, linestyle=line.dashes)  # type: ignore[arg-type]
    place.fill_between(updates, low, high, color=line.colour, alpha=0.16, linewidth=0)
    return float(updates[-1]), float(middle[-1]), line.name, line.colour


def _smoothed(line: Line, metric: str) -> np.ndarray:
    """Return the interquartile mean at every update, averaged over a twentieth of them."""
    updates, runs = line.matrix(metric)
    middle = pd.Series(interquartile_mean(runs, axis=0))
    window = max(1, len(updates) // 20)
    return np.asarray(middle.rolling(window, center=True, min_periods=1).mean())


def _density_facets(curves: pd.DataFrame) -> tuple[Figure, list[tuple[Axes, pd.DataFrame]]]:
    rows, columns = _values(curves, "granularity"), _values(curves, "density")
    figure, axes = facets(len(rows), len(columns))
    places = []
    for (i, j), place in np.ndenumerate(axes):
        is_here = (curves["granularity"] == rows[i]) & (curves["density"] == columns[j])
        place.set_title(f"{rows[i]}, {columns[j]}")
        places.append((place, curves[is_here]))
    return figure, places


def _lines(every: pd.DataFrame, here: pd.DataFrame) -> list[Line]:
    """Return the lines of a facet, with the looks that they have in every facet."""
    runs_once = every.drop_duplicates("run_id")
    varied = varied_axes(runs_once)
    shown = [name for name in LINE_AXES if name in varied and name != "agent"]
    agents, colours = _values(runs_once, "agent"), line_colours()
    settings = list(dict.fromkeys(map(tuple, runs_once[shown].to_numpy().tolist())))
    found = []
    for key, runs in groups(here, ["agent", *shown]):
        others = zip(shown, key[1:], strict=True)
        words = [key[0], *(f"{SYMBOLS[name]} {value}" for name, value in others if value != "–")]
        look = settings.index(tuple(key[1:]))
        found.append(
            Line(
                name=" ".join(words),
                colour=colours[agents.index(key[0]) % len(colours)],
                dashes=DASHES[look % len(DASHES)],
                marker=MARKERS[look % len(MARKERS)],
                runs=runs,
            )
        )
    return found


def _name_lines(figure: Figure, ends: dict[Axes, list[tuple[float, float, str, str]]]) -> None:
    figure.draw_without_rendering()
    for place, found in ends.items():
        label_lines(place, found)


def _label_outer(places: list[tuple[Axes, pd.DataFrame]], x: str, y: str) -> None:
    for place, _ in places:
        place.set_xlabel(x)
        place.set_ylabel(y)
        place.label_outer()


def _values(table: pd.DataFrame, name: str) -> list[str]:
    return list(dict.fromkeys(table[name]))
