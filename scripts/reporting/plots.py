"""Which figures a report has, with titles and captions; `scripts.reporting.drawings` draws them."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

from matplotlib.figure import Figure
from PIL import Image

from scripts.reporting.drawings import (
    TITLES,
    Tables,
    draw_curves,
    draw_frontier,
    draw_gold,
    draw_heatmap,
)
from scripts.reporting.style import Theme, themed
from scripts.reporting.tables import has, headline

FURTHER = {"score": "Score", "kl": "KL", "response_length": "Length", "entropy": "Entropy"}


@dataclass(frozen=True, kw_only=True)
class Plot:
    """One figure of the report.

    Attributes:
        name: of its file, without the ending.
        title: what it shows.
        caption: how to read it.
        draw: makes it, stacked in one column or not; called once per look.
    """

    name: str
    title: str
    caption: str
    draw: Callable[[bool], Figure]


def plots(tables: Tables) -> list[Plot]:
    """Return the figures that the tables have data for, the most important first."""
    main = headline(tables.results)
    band_note = (
        "Line: interquartile mean over seeds; band: its 95 % bootstrap interval. Where settings "
        "gave the same, one line lies on the other, which is wider and paler."
    )
    found = []
    if has(tables.curves, main):
        found.append(_curves(tables, main, "Learning curves", band_note))
    if has(tables.results, main):
        found.append(
            Plot(
                name="heatmap",
                title="Discount and density",
                caption=f"Interquartile mean of {TITLES[main]} after training.",
                draw=lambda stacked: draw_heatmap(tables, main, stacked=stacked),
            )
        )
    if has(tables.results, "score") and has(tables.results, "kl"):
        found.append(
            Plot(
                name="frontier",
                title="Reward against KL",
                caption="Small: one run. Large: interquartile mean of a setting. "
                "Grey line, where known: the best score possible at that KL.",
                draw=lambda stacked: draw_frontier(tables, stacked=stacked),
            )
        )
    if has(tables.curves, "gold"):
        found.append(
            Plot(
                name="gold",
                title="Proxy against gold",
                caption="Over the distance travelled from the reference: over-optimisation shows "
                "as a proxy (dotted) that rises while gold (solid) falls. Smoothed over a "
                "twentieth of the updates.",
                draw=lambda stacked: draw_gold(tables, stacked=stacked),
            )
        )
    if has(tables.curves, "regret"):
        note = f"Distance from the exact optimum, on a logarithmic scale. {band_note}"
        found.append(_curves(tables, "regret", "Regret", note))
    for name, title in FURTHER.items():
        if name != main and has(tables.curves, name):
            found.append(_curves(tables, name, title, band_note))
    return found


def webp(image: bytes) -> bytes:
    """Return a PNG file as a WebP file of a third of the size, in its 256 main colours."""
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(image)) as opened:
        reduced = opened.convert("RGB").quantize(256, dither=Image.Dither.NONE)
        reduced.convert("RGB").save(buffer, format="webp", lossless=True)
    return buffer.getvalue()


def png(plot: Plot, theme: Theme, *, stacked: bool = False) -> bytes:
    """Return a figure as a PNG file; stacked in one column for narrow screens."""
    with themed(theme):
        buffer = io.BytesIO()
        plot.draw(stacked).savefig(buffer, format="png", dpi=144)
    return buffer.getvalue()


def _curves(tables: Tables, metric: str, title: str, caption: str) -> Plot:
    return Plot(
        name=f"curves-{metric}",
        title=title,
        caption=caption,
        draw=lambda stacked: draw_curves(tables, metric, stacked=stacked),
    )
