"""The whole study: do what is missing, write the files, print the tables."""

from __future__ import annotations

from functools import partial

import pandas as pd
from tqdm import tqdm

from rlhf_env.files import write_atomically
from studies.overoptimization.curves import curves
from studies.overoptimization.figure import draw
from studies.overoptimization.pieces import done, missing_jobs, missing_proxies, points_file
from studies.overoptimization.settings import Study
from studies.overoptimization.tables import comparisons_table, fit_rows, fits_table, peaks_table
from studies.overoptimization.work import make_points, make_proxy
from studies.reporting.plots import Plot, png
from studies.reporting.style import LIGHT
from studies.results.csv_files import as_csv


def run_study(study: Study, *, progress: bool = True) -> None:
    """Do what the study's folder does not hold yet; tables and figure are written anew.

    Args:
        study: whose folder `claim_folder` has made.
        progress: show a bar.

    Raises:
        RuntimeError: if a process dies.
        OSError: if a file cannot be written.
    """
    proxies, jobs = missing_proxies(study), missing_jobs(study)
    with tqdm(total=len(proxies) + len(jobs), unit="piece", disable=not progress) as bar:
        for _ in done(make_proxy, study, proxies):
            bar.update()
        for _ in done(make_points, study, jobs):
            bar.update()
    points = pd.concat([pd.read_csv(points_file(study, job)) for job in study.all_jobs()])
    for name, content in files(points, study).items():
        write_atomically(study.out / name, content)
    for table in (peaks_table(points), fits_table(points), comparisons_table(points, study)):
        print(f"\n{table}", flush=True)


def files(points: pd.DataFrame, study: Study) -> dict[str, bytes]:
    """Return the files of the results by name."""
    drawn = partial(draw, curves(points), study.judges)
    plot = Plot(name="overoptimization", title="", caption="", draw=lambda stacked: drawn())
    return {
        "points.csv": as_csv(points),
        "fits.csv": as_csv(fit_rows(points)),
        "overoptimization.png": png(plot, LIGHT),
    }
