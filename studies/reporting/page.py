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

from studies.reporting.axes import rows_where, varied_axes
from studies.reporting.horizon.cells import HorizonMap
from studies.reporting.horizon.findings import basis, findings
from studies.reporting.horizon.tables import table_head, table_rows
from studies.reporting.improvement import Comparison, comparisons
from studies.reporting.plots import DOTS_PER_INCH, Plot, png, webp
from studies.reporting.samples import VIEWS, Samples
from studies.reporting.sources import Source
from studies.reporting.style import LIGHT
from studies.reporting.tables import METRICS, Cell, cells, headline, metrics_of

TEMPLATES = Path(__file__).parent / "templates"
MAX_FAILURES = 50
MAX_CELLS = 250
# A column of more panels is not an overview; the wide figure is scrolled then.
MAX_STACKED = 16
CSS_PIXELS_PER_INCH = 96


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A figure as the page embeds it."""

    plot: Plot
    """Title, caption and table."""
    wide: str
    """The image as a data URI."""
    narrow: str
    """Its panels in one column, for narrow screens; empty where there are too many."""
    width: int
    """At which it is shown, in CSS pixels, where there is room."""
    narrow_width: int
    """That of the narrow one."""


@dataclass(frozen=True, kw_only=True)
class Study:
    """What the page shows of one task."""

    task: str
    """Its name."""
    figures: list[Figure]
    """The most important first."""
    cells: list[Cell]
    """One per setting, at most `MAX_CELLS`."""
    hidden_cells: int
    """How many more there are."""
    axes: list[str]
    """Which of the settings' fields differ."""
    metrics: list[str]
    """Which were measured."""
    best: list[Cell]
    """The settings with the highest headline metric, as the page writes it."""
    headline: str
    """The metric that settings are compared by."""
    comparisons: list[Comparison]
    """Along each axis."""


@dataclass(frozen=True, kw_only=True)
class HorizonSection:
    """What the page shows of a map of horizons."""

    findings: dict[str, list[str]]
    """Sentences on what differs, by a heading."""
    basis: str
    """What they rest on."""
    figures: list[Figure]
    """Episodes and regret over the horizon."""
    head: tuple[str, ...]
    """Of the table."""
    rows: list[tuple[tuple[str, str], ...]]
    """Of the table, at most `MAX_CELLS`: numbers, and their intervals."""
    hidden_rows: int
    """How many more there are."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """Everything the page shows."""

    title: str
    """Of the page."""
    settings: dict[str, Any]
    """The grid's."""
    studies: list[Study]
    """One per task."""
    failures: list[dict[str, str]]
    """Run and error, at most `MAX_FAILURES`."""
    runs: int
    """How many ended well."""
    failed: int
    """How many did not."""
    samples: Samples
    """Example episodes."""
    horizons: HorizonSection | None
    """The map of horizons, where there is one."""


def summarize(
    results: pd.DataFrame,
    settings: dict[str, Any],
    studies: list[Study],
    samples: Samples,
    horizons: HorizonSection | None = None,
) -> Report:
    """Return what the page shows of the runs."""
    failed = rows_where(results, results["status"] != "ok") if len(results) else results
    errors = failed.head(MAX_FAILURES)[["run_id", "error", "command"]] if len(failed) else failed
    # Only a grid has a number of seeds; one training run has a seed.
    kind = "Ablation" if "seeds" in settings or studies else "Training"
    tasks = ", ".join(study.task for study in studies if study.task)
    return Report(
        title=f"{kind} on {tasks or settings.get('task', 'an unknown task')}",
        settings=settings,
        studies=studies,
        failures=errors.astype(str).to_dict("records"),  # type: ignore[arg-type]
        runs=len(results) - len(failed),
        failed=len(failed),
        samples=samples,
        horizons=horizons,
    )


def study(source: Source, figures: list[Figure]) -> Study:
    """Return what the page shows of one task's runs."""
    found, metric = cells(source.results, MAX_CELLS), headline(source.results)
    measured = metrics_of(found)
    return Study(
        task=source.task,
        figures=figures,
        cells=found[:MAX_CELLS],
        hidden_cells=len(found[MAX_CELLS:]),
        axes=varied_axes(source.results),
        metrics=measured,
        best=best_cells(found, metric),
        headline=metric,
        comparisons=comparisons(source.results, metric, measured),
    )


def horizon_section(found: HorizonMap, figures: list[Figure]) -> HorizonSection:
    """Return what the page shows of a map of horizons."""
    rows = table_rows(found)
    return HorizonSection(
        findings=findings(found),
        basis=basis(found),
        figures=figures,
        head=table_head(found),
        rows=rows[:MAX_CELLS],
        hidden_rows=len(rows[MAX_CELLS:]),
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
        views=VIEWS,
    )


def as_figure(plot: Plot, wide: bytes) -> Figure:
    """Return a figure as the page embeds it, given its PNG file."""
    if plot.panels > MAX_STACKED:
        narrow, shown = "", shown_width(wide)
    else:
        image = png(plot, LIGHT, stacked=True)
        narrow, shown = data_uri(image), shown_width(image)
    return Figure(
        plot=plot,
        wide=data_uri(wide),
        narrow=narrow,
        width=shown_width(wide),
        narrow_width=shown,
    )


def shown_width(image: bytes) -> int:
    """Return how wide a PNG file is shown, in CSS pixels."""
    # The file has its width in bytes 16 to 19.
    return int.from_bytes(image[16:20], "big") * CSS_PIXELS_PER_INCH // DOTS_PER_INCH


def data_uri(image: bytes) -> str:
    """Return a PNG file as text that a page can hold."""
    return f"data:image/webp;base64,{base64.b64encode(webp(image)).decode()}"
