"""The whole study: train, write the files, print the tables."""

from __future__ import annotations

from contextlib import closing

import pandas as pd
from tqdm import tqdm

from rlhf_env.files import write_atomically
from studies.execution.pool import outcomes
from studies.results.csv_files import as_csv
from studies.value_learning.learning import Row, run
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
    jobs = jobs_of(study)
    found: dict[Job, Row] = {}
    bar = tqdm(total=len(jobs), unit="run", disable=not progress)
    with bar, closing(outcomes(jobs, run, study.jobs)) as ended:
        for outcome in ended:
            if outcome.result is None:
                job = outcome.run
                raise RuntimeError(f"{job.part}, {job.method}, seed {job.seed}: {outcome.error}")
            found[outcome.run] = outcome.result
            bar.update()
    # Runs end in any order.
    return pd.DataFrame([found[job] for job in jobs])
