"""The whole study: train, write the files, print the tables."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from rlhf_env.files import write_atomically
from studies.execution.pool import outcomes
from studies.reporting.plots import Plot, png
from studies.reporting.style import LIGHT
from studies.results.csv_files import as_csv, read_csv
from studies.scaling.figure import draw
from studies.scaling.learning import Row, learn, with_known
from studies.scaling.settings import Job, Study, jobs_of
from studies.scaling.tables import page_tables

ARRIVALS = "arrivals.csv"


def run_study(study: Study, *, progress: bool = True) -> None:
    """Run what is missing, and write and print what is there then.

    Raises:
        RuntimeError: if a run fails.
        ValueError: if the folder holds rows that cannot be read.
        OSError: if a file cannot be written.
    """
    study.out.mkdir(parents=True, exist_ok=True)
    rows = measure(study, progress=progress)
    plot = Plot(name="scaling", title="", caption="", draw=lambda stacked: draw(rows))
    write_atomically(study.out / "scaling.png", png(plot, LIGHT))
    print(page_tables(rows))


def measure(study: Study, *, progress: bool = True) -> pd.DataFrame:
    """Return one row per run; every row is written as soon as its run has ended.

    Raises:
        RuntimeError: if a run fails.
        ValueError: if the folder holds rows that cannot be read.
        OSError: if the rows cannot be written.
    """
    jobs, path = jobs_of(study), study.out / ARRIVALS
    found, missing = with_known(jobs, read_csv(path))
    bar = tqdm(total=len(jobs), initial=len(found), unit="run", disable=not progress)
    with bar, closing(outcomes(missing, learn, study.jobs)) as ended:
        for outcome in ended:
            if outcome.result is None:
                run = outcome.run.run
                raise RuntimeError(f"the run {run.run_id} failed: {outcome.error}")
            found[outcome.run] = outcome.result
            _write(path, jobs, found)
            bar.update()
    return _write(path, jobs, found)


def _write(path: Path, jobs: list[Job], found: dict[Job, Row]) -> pd.DataFrame:
    # Runs end in any order.
    rows = pd.DataFrame([found[job] for job in jobs if job in found])
    write_atomically(path, as_csv(rows))
    return rows
