"""The report as one HTML page that loads and runs nothing."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup

from scripts.reporting.drawings import TITLES
from scripts.reporting.plots import Plot, png, webp
from scripts.reporting.samples import SHADES, Samples
from scripts.reporting.style import DARK, LIGHT
from scripts.reporting.tables import (
    METRICS,
    Cell,
    Comparison,
    cells,
    comparisons,
    headline,
    metrics_of,
    varied_axes,
)

TEMPLATES = Path(__file__).parent / "templates"
MAX_FAILURES = 50
MAX_CELLS = 500


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A figure as the page embeds it.

    Attributes:
        plot: title and caption.
        light: the image as a data URI.
        dark: the same for dark pages.
        narrow_light: its panels in one column, for narrow screens.
        narrow_dark: the same for dark pages.
        width: at which it is shown, in CSS pixels, where there is room.
        narrow_width: that of the narrow ones.
    """

    plot: Plot
    light: str
    dark: str
    narrow_light: str
    narrow_dark: str
    width: int
    narrow_width: int


@dataclass(frozen=True, kw_only=True)
class Report:
    """Everything the page shows.

    Attributes:
        title: of the page.
        settings: the grid's.
        figures: the most important first.
        cells: one per setting, at most `MAX_CELLS`.
        hidden_cells: how many more there are.
        axes: which of the settings' fields differ.
        metrics: which were measured.
        best: the settings with the highest headline metric, as the page writes it.
        headline: the metric that settings are compared by.
        comparisons: along each axis.
        failures: run and error, at most `MAX_FAILURES`.
        runs: how many ended well.
        failed: how many did not.
        samples: example episodes.
    """

    title: str
    settings: dict[str, Any]
    figures: list[Figure]
    cells: list[Cell]
    hidden_cells: int
    axes: list[str]
    metrics: list[str]
    best: list[Cell]
    headline: str
    comparisons: list[Comparison]
    failures: list[dict[str, str]]
    runs: int
    failed: int
    samples: Samples


def summarise(
    results: pd.DataFrame, settings: dict[str, Any], figures: list[Figure], samples: Samples
) -> Report:
    """Return what the page shows of the runs."""
    found, metric = cells(results), headline(results)
    failed = results[results["status"] == "failed"] if len(found) else pd.DataFrame()
    errors = failed.head(MAX_FAILURES)[["run_id", "error", "command"]] if len(failed) else failed
    # Only a grid has a number of seeds; one training run has a seed.
    kind = "Ablation" if "seeds" in settings or found else "Training"
    return Report(
        title=f"{kind} on {settings.get('task', 'an unknown task')}",
        settings=settings,
        figures=figures,
        cells=found[:MAX_CELLS],
        hidden_cells=len(found[MAX_CELLS:]),
        axes=varied_axes(results) if found else [],
        metrics=metrics_of(found),
        best=best_cells(found, metric),
        headline=metric,
        comparisons=comparisons(results, metric),
        failures=errors.astype(str).to_dict("records"),  # type: ignore[arg-type]
        runs=sum(cell.runs for cell in found),
        failed=len(failed),
        samples=samples,
    )


def best_cells(found: list[Cell], metric: str) -> list[Cell]:
    """Return the settings with the highest metric; what the page writes alike is a tie."""
    ranked = [cell for cell in found if metric in cell.estimates]
    highest = max((cell.estimates[metric].value for cell in ranked), default=0.0)
    return [cell for cell in ranked if f"{cell.estimates[metric].value:.3f}" == f"{highest:.3f}"]


def as_html(report: Report) -> str:
    """Return the page; every text in it is escaped, and it may load and run nothing."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = (TEMPLATES / "report.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return environment.get_template("report.html").render(
        report=report,
        style=Markup(style),
        style_hash=f"sha256-{digest}",
        names=METRICS,
        titles=TITLES,
        shades=SHADES,
    )


def as_figure(plot: Plot, light: bytes) -> Figure:
    """Return a figure as the page embeds it, given its PNG file in the light look."""
    narrow = png(plot, LIGHT, stacked=True)
    return Figure(
        plot=plot,
        light=data_uri(light),
        dark=data_uri(png(plot, DARK)),
        narrow_light=data_uri(narrow),
        narrow_dark=data_uri(png(plot, DARK, stacked=True)),
        width=shown_width(light),
        narrow_width=shown_width(narrow),
    )


def shown_width(image: bytes) -> int:
    """Return how wide a PNG file is shown, in CSS pixels."""
    # The file has its width in bytes 16 to 19; it is drawn half as fine again as shown.
    return int.from_bytes(image[16:20], "big") * 2 // 3


def data_uri(image: bytes) -> str:
    """Return a PNG file as text that a page can hold."""
    return f"data:image/webp;base64,{base64.b64encode(webp(image)).decode()}"
