"""The report of an ablation: its figures and one HTML file, written as a whole."""

from __future__ import annotations

import os
from pathlib import Path

from rlhf_env.files import write_atomically
from studies.reporting.page import as_figure, as_html, study, summarize
from studies.reporting.plots import plots, png
from studies.reporting.samples import read_samples
from studies.reporting.sources import file_prefixes, read_sources
from studies.reporting.style import LIGHT
from studies.results.folder import REPORT, SAMPLES


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
    files: dict[Path, bytes] = {}
    studies = []
    for source, prefix in zip(sources, file_prefixes(sources), strict=True):
        drawn = [(plot, png(plot, LIGHT)) for plot in plots(source.tables)]
        files |= {folder / f"{prefix}{plot.name}.png": image for plot, image in drawn}
        studies.append(study(source, [as_figure(plot, image) for plot, image in drawn]))
    page = as_html(summarize(results, settings, studies, read_samples(folder / SAMPLES)))
    files[folder / REPORT] = page.encode()
    for path, content in files.items():
        write_atomically(path, content)
    return list(files)


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
