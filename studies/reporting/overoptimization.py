"""Proxy against gold over the distance from the reference, with the laws of Gao et al. fitted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from rlhf_env.statistics import Floats
from studies.reporting.curves import metric_by_run, rows_of
from studies.reporting.lines import Grid, Line
from studies.reporting.style import LIGHT, share_scales, shortened, subplots
from studies.statistics.gao import BEST_OF_N, RL, Fit, fit
from studies.statistics.intervals import interquartile_mean

# A law that explains less is listed with its R², and not drawn.
LEAST_R_SQUARED = 0.5
HEAD = ("panel", "runs", "law", "α", "β", "R²", "peak at d", "gold there")
KINDS: tuple[tuple[str, Literal["-", ":"]], ...] = (("gold", "-"), ("proxy", ":"))


@dataclass(frozen=True, kw_only=True)
class GoldProxyCurve:
    """How far the runs of a line went from the reference, and what they got there."""

    line: Line
    """Its runs and style."""
    distance: Floats
    """[U] square root of the interquartile mean of the KL, in √nats, update by update."""
    proxy: Floats
    """[U] interquartile mean of the score."""
    gold: Floats
    """[U] interquartile mean of the gold score."""
    start: float
    """Gold score of the reference."""
    fits: list[Fit]
    """Both laws, the better first; empty where there is too little to fit."""


def gold_proxy_curves(grid: Grid, curves: pd.DataFrame) -> list[list[GoldProxyCurve]]:
    """Return every panel's lines with their fits.

    Args:
        grid: the panels.
        curves: one row per run and update.
    """
    known = curves.dropna(subset=["kl", "score", "gold"])
    wide = {name: metric_by_run(known, name) for name in ("kl", "score", "gold")}
    # The first update's episodes are the untrained policy's, which is the reference.
    start = float(interquartile_mean(wide["gold"].iloc[:, 0].dropna()))
    found = []
    for panel in grid.panels:
        made = (_curve(line, wide, start) for line in panel.lines)
        found.append([one for one in made if one is not None])
    return found


def draw_gold(grid: Grid, found: list[list[GoldProxyCurve]], *, stacked: bool) -> Figure:
    """Draw proxy and gold score over the square root of the KL that training has spent."""
    samples = [
        Line2D([], [], color=line.color, label=shortened(line.name, 3.2)) for line in grid.lines
    ]
    samples += [Line2D([], [], color=LIGHT.ink, linestyle=dash, label=name) for name, dash in KINDS]
    figure, axes = subplots(grid.rows, grid.columns, legend=samples, stacked=stacked)
    for ax, panel, here in zip(axes.flat, grid.panels, found, strict=True):
        ax.set_title(panel.title)
        for one in here:
            _draw_curve(ax, one)
    share_scales(axes, "d = √KL to the reference (√nats)", "score")
    return figure


def fit_rows(grid: Grid, found: list[list[GoldProxyCurve]]) -> list[tuple[str, ...]]:
    """Return the table of all fits, one row per law, under `HEAD`."""
    return [
        (panel.title, one.line.name, *_fit_cells(law, one))
        for panel, here in zip(grid.panels, found, strict=True)
        for one in here
        for law in one.fits
    ]


def _curve(line: Line, wide: dict[str, pd.DataFrame], start: float) -> GoldProxyCurve | None:
    """Return a line's curve; None where its runs have no update in common."""
    runs = pd.concat(line.strata)["run_id"]
    measured = {name: rows_of(table, runs) for name, table in wide.items()}
    is_known = np.isfinite(measured["gold"]).all(axis=0)
    if not len(measured["gold"]) or not is_known.any():
        return None
    kl, proxy, gold = (
        interquartile_mean(measured[name][:, is_known], axis=0) for name in ("kl", "score", "gold")
    )
    distance = np.sqrt(np.maximum(kl, 0.0))
    laws = [law for form in (RL, BEST_OF_N) if (law := fit(form, distance, gold - start))]
    return GoldProxyCurve(
        line=line,
        distance=distance,
        proxy=proxy,
        gold=gold,
        start=start,
        fits=sorted(laws, key=lambda law: -law.r_squared),
    )


def _draw_curve(ax: Axes, one: GoldProxyCurve) -> None:
    color = one.line.color
    ax.plot(one.distance, one.gold, ".", color=color, markersize=3, alpha=0.45)
    ax.plot(_smooth(one.distance), _smooth(one.proxy), color=color, linestyle=":")
    law = next((law for law in one.fits if law.r_squared >= LEAST_R_SQUARED), None)
    if law is None:
        ax.plot(_smooth(one.distance), _smooth(one.gold), color=color, linewidth=0.8)
        return
    reach = np.linspace(0.0, float(one.distance.max()), 100)
    ax.plot(reach, one.start + law.gain(reach), color=color)


def _smooth(numbers: Floats) -> Floats:
    """Return the mean over a twentieth of the updates around each."""
    window = max(1, len(numbers) // 20)
    return np.asarray(pd.Series(numbers).rolling(window, center=True, min_periods=1).mean())


def _fit_cells(law: Fit, one: GoldProxyCurve) -> tuple[str, ...]:
    numbers = (law.form.name, f"{law.alpha:.3f}", f"{law.beta:.3f}", f"{law.r_squared:.3f}")
    if law.r_squared < LEAST_R_SQUARED:
        return (*numbers, "fits poorly", "–")
    if law.peak is None:
        return (*numbers, "none", "–")
    distance, height = law.peak
    is_seen = distance <= float(one.distance.max())
    ax = f"{distance:.2f}" if is_seen else f"beyond the data ({distance:.3g})"
    return (*numbers, ax, f"{one.start + height:.3f}" if is_seen else "–")
