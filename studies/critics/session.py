"""The whole study: train, write the files, print the tables."""

from __future__ import annotations

import pandas as pd

from rlhf_env.files import write_atomically
from studies.critics.figure import draw
from studies.critics.learning import learn
from studies.critics.settings import Job, Study, jobs_of
from studies.critics.tables import page_tables
from studies.execution.results import all_results
from studies.reporting.plots import Plot, png
from studies.reporting.style import LIGHT
from studies.results.csv_files import as_csv


def run_study(study: Study, *, progress: bool = True) -> None:
    """Measure everything; files that are there are replaced.

    Raises:
        RuntimeError: if a run fails.
        OSError: if a file cannot be written.
    """
    study.out.mkdir(parents=True, exist_ok=True)
    rows = measure(study, progress=progress)
    write_atomically(study.out / "curves.csv", as_csv(rows))
    plot = Plot(name="critics", title="", caption="", draw=lambda stacked: draw(rows))
    write_atomically(study.out / "critics.png", png(plot, LIGHT))
    print(page_tables(rows))


def measure(study: Study, *, progress: bool = True) -> pd.DataFrame:
    """Return one row for each run and update of its policy.

    Raises:
        RuntimeError: if a run fails.
    """
    curves = all_results(jobs_of(study), learn, study.jobs, _name, progress=progress)
    return pd.DataFrame([row for curve in curves for row in curve])


def _name(job: Job) -> str:
    return f"{job.task}, {job.arm}, seed {job.seed}"
