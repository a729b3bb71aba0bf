"""The whole study: train, write the files, print the tables."""

from __future__ import annotations

import pandas as pd

from rlhf_env.files import write_atomically
from studies.execution.results import all_results
from studies.results.csv_files import as_csv
from studies.value_learning.learning import run
from studies.value_learning.settings import Job, Study, jobs_of
from studies.value_learning.tables import page_tables


def run_study(study: Study, *, progress: bool = True) -> None:
    """Measure everything, and write a file for each part and task; those there are replaced.

    Raises:
        RuntimeError: if a run fails.
        OSError: if a file cannot be written.
    """
    study.out.mkdir(parents=True, exist_ok=True)
    rows = measure(study, progress=progress)
    for name, part in rows.groupby(rows["part"] + "-" + rows["task"], sort=False):
        write_atomically(study.out / f"{name}.csv", as_csv(part))
    print(page_tables(rows))


def measure(study: Study, *, progress: bool = True) -> pd.DataFrame:
    """Return one row for each run.

    Raises:
        RuntimeError: if a run fails.
    """
    return pd.DataFrame(all_results(jobs_of(study), run, study.jobs, _name, progress=progress))


def _name(job: Job) -> str:
    return f"{job.part}, {job.method}, seed {job.seed}"
