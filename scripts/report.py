"""Make the report of an ablation: one HTML file without external resources, and its figures.

python scripts/report.py runs/ablation
"""

from __future__ import annotations

import base64
import hashlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
import tyro
from markupsafe import Markup

from rlhf_env.files import write_atomically
from scripts.ablation.folder import CURVES, FRONTIER, REPORT, RESULTS, SAMPLES, read_settings
from scripts.ablation.results import read_csv
from scripts.reporting.drawings import TITLES, Tables
from scripts.reporting.plots import Plot, plots, png, webp
from scripts.reporting.samples import SHADES, Samples, read_samples
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

TEMPLATES = Path(__file__).parent / "reporting" / "templates"
MAX_FAILURES = 50
MAX_CELLS = 500


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A figure as the page embeds it.

    Attributes:
        plot: title and caption.
        light: the image as a data URI.
        dark: the same for dark pages.
        width: at which it is shown, in CSS pixels, where there is room.
    """

    plot: Plot
    light: str
    dark: str
    width: int


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
        best: the setting with the highest headline metric.
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
    best: Cell | None
    headline: str
    comparisons: list[Comparison]
    failures: list[dict[str, str]]
    runs: int
    failed: int
    samples: Samples


def make_report(folder: Path) -> list[Path]:
    """Draw the figures of a folder and write its report; what is there is replaced as a whole.

    Returns:
        The files, figures first.

    Raises:
        ValueError: if a table of the folder cannot be read.
    """
    results = read_csv(folder / RESULTS)
    tables = Tables.of(results, read_csv(folder / CURVES), read_csv(folder / FRONTIER))
    figures, paths = [], []
    for plot in plots(tables):
        light = png(plot, LIGHT)
        paths.append(folder / f"{plot.name}.png")
        write_atomically(paths[-1], light)
        figures.append(as_figure(plot, light))
    report = summarise(results, read_settings(folder), figures, read_samples(folder / SAMPLES))
    write_atomically(folder / REPORT, as_html(report).encode())
    return [*paths, folder / REPORT]


def summarise(
    results: pd.DataFrame, settings: dict[str, Any], figures: list[Figure], samples: Samples
) -> Report:
    """Return what the page shows of the runs."""
    found, metric = cells(results), headline(results)
    ranked = [cell for cell in found if metric in cell.estimates]
    failed = results[results["status"] == "failed"] if len(found) else pd.DataFrame()
    errors = failed.head(MAX_FAILURES)[["run_id", "error", "command"]] if len(failed) else failed
    return Report(
        title=f"Ablation on {settings.get('task', 'an unknown task')}",
        settings=settings,
        figures=figures,
        cells=found[:MAX_CELLS],
        hidden_cells=len(found[MAX_CELLS:]),
        axes=varied_axes(results) if found else [],
        metrics=metrics_of(found),
        best=max(ranked, key=lambda cell: cell.estimates[metric].value, default=None),
        headline=metric,
        comparisons=comparisons(results, metric),
        failures=errors.astype(str).to_dict("records"),  # type: ignore[arg-type]
        runs=sum(cell.runs for cell in found),
        failed=len(failed),
        samples=samples,
    )


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
    return Figure(
        plot=plot,
        light=data_uri(light),
        dark=data_uri(png(plot, DARK)),
        # A PNG file has its width in bytes 16 to 19; it is drawn half as fine again as shown.
        width=int.from_bytes(light[16:20], "big") * 2 // 3,
    )


def data_uri(image: bytes) -> str:
    """Return a PNG file as text that a page can hold."""
    return f"data:image/webp;base64,{base64.b64encode(webp(image)).decode()}"


def main(arguments: list[str] | None = None) -> int:
    """Make the report of the folder on the command line; return the exit status."""
    folder = tyro.cli(
        tyro.conf.Positional[Path], args=arguments, description=(__doc__ or "").split("\n")[0]
    )
    if not folder.is_dir():
        got = "a file" if folder.exists() else "nothing"
        print(
            f"report: the folder must hold an ablation, got {folder} where there is {got}; "
            "name the --out of scripts/ablate.py",
            file=sys.stderr,
        )
        return 2
    try:
        paths = make_report(folder)
    except (OSError, ValueError) as error:
        print(f"report: {error}", file=sys.stderr)
        return 1
    for path in paths:
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
