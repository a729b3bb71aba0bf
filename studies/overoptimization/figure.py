"""The figure of the study: gold and proxy over the distance, best-of-n left and PPO right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from studies.overoptimization.curves import Curve
from studies.overoptimization.settings import Judge
from studies.reporting.style import LIGHT, line_colors, shaded

_BAND = 0.12


def draw(curves: Sequence[Curve], judges: Sequence[Judge]) -> Figure:
    """Draw a column per method: single reward models above, ensembles with their member below.

    Args:
        curves: of all judges and methods.
        judges: which there are, in order; the ensembles share size and data.
    """
    methods = list(dict.fromkeys(curve.method for curve in curves))
    rows = _rows(judges)
    colors = {judge.label: _color(number) for number, judge in enumerate(judges)}
    figure = Figure(figsize=(9.6, 3.5 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), len(methods), squeeze=False, sharex="col", sharey=True)
    for (title, members), line in zip(rows.items(), axes, strict=True):
        labels = [judge.label for judge in members]
        for method, ax in zip(methods, line, strict=True):
            here = [curve for curve in curves if curve.method == method and curve.judge in labels]
            for curve in here:
                _draw_curve(ax, curve, colors[curve.judge])
            ax.axhline(0.0, color=LIGHT.muted, linewidth=1.0, zorder=0)
            ax.set_title(f"{method}: {title}")
        line[-1].legend(
            handles=_samples({label: colors[label] for label in labels}),
            fontsize=8,
            loc="upper left",
            bbox_to_anchor=(1.02, 1.0),
            borderaxespad=0.0,
            frameon=False,
        )
        line[0].set_ylabel("score (reference: 0 ± 1)")
    for ax in axes[-1]:
        ax.set_xlabel("distance from the reference, √KL (√nats)")
    return figure


def _rows(judges: Sequence[Judge]) -> dict[str, list[Judge]]:
    """Return which judges each row of panels shows."""
    singles = [judge for judge in judges if not judge.is_ensemble]
    ensembles = [judge for judge in judges if judge.is_ensemble]
    rows = {"one reward model": singles}
    if ensembles:
        alike = Judge(layers=ensembles[0].layers, pairs=ensembles[0].pairs)
        rows["ensembles"] = [alike, *ensembles]
    return rows


def _draw_curve(ax: Axes, curve: Curve, color: str) -> None:
    distance = curve.distance.mean(axis=0)
    ax.plot(distance, curve.gold.mean(axis=0), "-", color=color)
    ax.plot(distance, curve.proxy.mean(axis=0), "--", color=color, linewidth=1.0)
    ax.fill_between(
        distance, curve.gold.min(axis=0), curve.gold.max(axis=0), color=color, alpha=_BAND, lw=0.0
    )
    ax.plot(curve.peak_distance, curve.peak_height, "o", color=color, markersize=5)


def _color(index: int) -> str:
    """Return the color of a judge; when all are used they come again, darker."""
    colors = line_colors()
    return shaded(colors[index % len(colors)], 1 + index // len(colors))


def _samples(colors: Mapping[str, str]) -> list[Line2D]:
    """Return what the legend shows: colors of judges, then line styles."""
    judges = [Line2D([], [], color=color, label=label) for label, color in colors.items()]
    kinds = [
        Line2D([], [], color=LIGHT.ink, linestyle="-", label="gold"),
        Line2D([], [], color=LIGHT.ink, linestyle="--", label="proxy"),
        Line2D([], [], color=LIGHT.ink, linestyle="", marker="o", label="highest gold"),
    ]
    return [*judges, *kinds]
