"""The report of an ablation: its figures and one HTML file, written as a whole."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from rlhf_env.files import write_atomically
from studies.reporting.horizon.cells import HorizonMap, horizon_map
from studies.reporting.horizon.figures import horizon_plots
from studies.reporting.horizon.tables import as_table
from studies.reporting.page import as_figure, as_html, horizon_section, study, summarize
from studies.reporting.plots import plots, png
from studies.reporting.samples import read_samples
from studies.reporting.sources import Source, file_prefixes, read_sources
from studies.reporting.style import LIGHT
from studies.results.csv_files import as_csv
from studies.results.folder import HORIZONS, REPORT, SAMPLES


def make_report(folder: Path) -> list[Path]:
    """Draw the figures of a folder and write its report; what is there is replaced as a whole.

    Everything is read and drawn before the first file is replaced.

    Returns:
        The files, figures first.

    Raises:
        ValueError: if the folder is not an ablation, or a file of it is damaged.
        OSError: if a file cannot be read or written.
    """
    settings, results, sources = read_sources(folder)
    horizons = map_of(sources)
    files: dict[Path, bytes] = {}
    shown_map = None
    if horizons is not None:
        drawn = [(plot, png(plot, LIGHT)) for plot in horizon_plots(horizons)]
        files |= {folder / f"{plot.name}.png": image for plot, image in drawn}
        files[folder / HORIZONS] = as_csv(as_table(horizons))
        shown_map = horizon_section(horizons, [as_figure(plot, image) for plot, image in drawn])
    studies = []
    for source, prefix in zip(sources, file_prefixes(sources), strict=True):
        # Beside the map, all figures of every task would be too many to read or to wait for.
        chosen = plots(source.tables)[: None if horizons is None else 1]
        drawn = [(plot, png(plot, LIGHT)) for plot in chosen]
        files |= {folder / f"{prefix}{plot.name}.png": image for plot, image in drawn}
        studies.append(study(source, [as_figure(plot, image) for plot, image in drawn]))
    samples = read_samples(folder / SAMPLES)
    page = as_html(summarize(results, settings, studies, samples, shown_map))
    files[folder / REPORT] = page.encode()
    for path, content in files.items():
        write_atomically(path, content)
    return list(files)


def map_of(sources: Sequence[Source]) -> HorizonMap | None:
    """Return the map of horizons of all tasks together; None where there is none."""
    known = [source.tables for source in sources if not source.tables.results.empty]
    if not known:
        return None
    results = pd.concat([tables.results for tables in known], ignore_index=True)
    curves = pd.concat([tables.curves for tables in known], ignore_index=True)
    return horizon_map(results, curves)


def check_folder(folder: Path) -> None:
    """Refuse what cannot hold an ablation and its report.

    Raises:
        ValueError: if it is not a folder, has no settings, or cannot be written to.
    """
    if not folder.is_dir():
        got = "a file" if folder.exists() else "nothing"
        raise ValueError(
            f"the folder must hold an ablation, got {folder} where there is {got}; "
            "name the --out of scripts/ablate.py"
        )
    if not (folder / "settings.json").is_file():
        raise ValueError(
            f"the folder must hold an ablation, got {folder} without a settings.json; "
            "name the --out of scripts/ablate.py"
        )
    if not os.access(folder, os.W_OK):
        raise ValueError(
            f"the folder must be writable, got {folder}; copy it to where it is and report on that"
        )
