"""Which figures a report has, with titles and captions; the modules beside this one draw them."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure
from PIL import Image

from studies.reporting.axes import has, rows_where, successes, values
from studies.reporting.curves import draw_curves, metric_bands
from studies.reporting.frontier import centers, draw_frontier
from studies.reporting.heatmap import draw_heat_map, heat_map
from studies.reporting.lines import Grid, panel_grid
from studies.reporting.overoptimization import (
    HEAD,
    LEAST_R_SQUARED,
    draw_gold,
    fit_rows,
    gold_proxy_curves,
)
from studies.reporting.style import Theme, themed
from studies.reporting.tables import headline
from studies.reporting.titles import TITLES

CURVES = {"score": "Score", "kl": "KL", "response_length": "Length", "entropy": "Entropy"}
BAND_NOTE = (
    "Line: interquartile mean over seeds; band: its 95 % bootstrap interval. Where settings gave "
    "the same, one line lies on the other, which is wider and paler."
)
DOTS_PER_INCH = 144


@dataclass(frozen=True, kw_only=True)
class Plot:
    """One figure of the report."""

    name: str
    """Of its file, without the ending."""
    title: str
    """What it shows."""
    caption: str
    """How to read it."""
    draw: Callable[[bool], Figure]
    """Makes it, stacked in one column or not."""
    panels: int = 1
    """How many it has."""
    head: tuple[str, ...] = ()
    """Of the table beneath it."""
    rows: tuple[tuple[str, ...], ...] = ()
    """Of that table; there is none without rows."""


@dataclass(frozen=True, kw_only=True)
class Tables:
    """What one task's figures are drawn from."""

    results: pd.DataFrame
    """One row per run that ended well, every axis' value as it is read."""
    curves: pd.DataFrame
    """One row per run and update."""
    frontier: pd.DataFrame
    """KL and score of exactly optimal policies; may be empty."""

    @classmethod
    def of(cls, results: pd.DataFrame, curves: pd.DataFrame, frontier: pd.DataFrame) -> Tables:
        """Keep the runs that ended well."""
        if results.empty or "status" not in results:
            nothing = pd.DataFrame()
            return cls(results=nothing, curves=nothing, frontier=frontier)
        good = successes(results)
        own = rows_where(curves, curves["run_id"].isin(good["run_id"])) if len(curves) else curves
        return cls(results=good, curves=own, frontier=frontier)


def plots(tables: Tables) -> list[Plot]:
    """Return the figures that the tables have data for, the most important first."""
    if tables.results.empty:
        return []
    return list(_plots(tables, panel_grid(tables.results), headline(tables.results)))


def png(plot: Plot, theme: Theme, *, stacked: bool = False) -> bytes:
    """Return a figure as a PNG file; stacked in one column for narrow screens."""
    with themed(theme):
        buffer = io.BytesIO()
        # A low level of compression: the default takes longer than drawing does.
        options = {"compress_level": 3}
        plot.draw(stacked).savefig(buffer, format="png", dpi=DOTS_PER_INCH, pil_kwargs=options)
    return buffer.getvalue()


def webp(image: bytes) -> bytes:
    """Return a PNG file as a WebP file without loss but of colors, which become 256."""
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(image)) as opened:
        # The octree is a fifth of the work of the median cut, for a quarter more of the size.
        reduced = opened.convert("RGB").quantize(256, Image.Quantize.FASTOCTREE)
        reduced.convert("RGB").save(buffer, format="webp", lossless=True, method=0)
    return buffer.getvalue()


def _plots(tables: Tables, grid: Grid, main: str) -> Iterator[Plot]:
    if has(tables.curves, main):
        yield _curves(tables, grid, main, "Learning curves", BAND_NOTE)
    varied = max(len(values(tables.results, name)) for name in ("gamma", "density"))
    if has(tables.results, main) and varied > 1:
        yield _heat_map(tables, main)
    if has(tables.results, "score") and has(tables.results, "kl"):
        yield _frontier(tables, grid)
    if all(has(tables.curves, name) for name in ("gold", "score", "kl")):
        yield _gold(tables, grid)
    if has(tables.curves, "regret"):
        note = f"Distance from the exact optimum, on a logarithmic scale. {BAND_NOTE}"
        yield _curves(tables, grid, "regret", "Regret", note)
    for name, title in CURVES.items():
        if name != main and has(tables.curves, name):
            yield _curves(tables, grid, name, title, BAND_NOTE)


def _curves(tables: Tables, grid: Grid, metric: str, title: str, caption: str) -> Plot:
    found = metric_bands(grid, tables.curves, metric)
    return Plot(
        name=f"curves-{metric}",
        title=title,
        caption=f"{TITLES[metric]}. {caption}{grid.note}",
        draw=lambda stacked: draw_curves(grid, found, metric, stacked=stacked),
        panels=len(grid.panels),
    )


def _heat_map(tables: Tables, metric: str) -> Plot:
    found = heat_map(tables.results, metric)
    return Plot(
        name="heatmap",
        title="Discount and density",
        caption=f"{TITLES[metric]} after training: interquartile mean over seeds, with its 95 % "
        f"bootstrap interval.{found.note}",
        draw=lambda stacked: draw_heat_map(found, stacked=stacked),
        panels=len(found.known["granularity"]) * len(found.known["agent"]),
    )


def _frontier(tables: Tables, grid: Grid) -> Plot:
    found = centers(grid)
    known = " Gray line: the best score possible at that KL." if len(tables.frontier) else ""
    return Plot(
        name="frontier",
        title="Reward against KL",
        caption="Small: one run. Large: interquartile mean of a setting, with its 95 % bootstrap "
        f"intervals.{known}{grid.note}",
        draw=lambda stacked: draw_frontier(grid, found, tables.frontier, stacked=stacked),
        panels=len(grid.panels),
    )


def _gold(tables: Tables, grid: Grid) -> Plot:
    found = gold_proxy_curves(grid, tables.curves)
    return Plot(
        name="gold",
        title="Proxy against gold",
        caption="Over the distance travelled from the reference: over-optimization shows as a "
        "proxy (dotted) that rises while gold falls. Dots: gold at each update. Solid: the law of "
        "Gao et al. that fits gold better, thin and only smoothed where neither explains "
        f"{LEAST_R_SQUARED:.0%} of its variance.{grid.note}",
        draw=lambda stacked: draw_gold(grid, found, stacked=stacked),
        panels=len(grid.panels),
        head=HEAD,
        rows=tuple(fit_rows(grid, found)),
    )
