"""The whole study: train, write the files, print the tables."""

from __future__ import annotations

from contextlib import closing

import pandas as pd
from tqdm import tqdm

from rlhf_env.files import write_atomically
from studies.critics.figure import draw
from studies.critics.learning import Row, learn
from studies.critics.settings import Job, Study, jobs_of
from studies.critics.tables import page_tables
from studies.execution.pool import outcomes
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
    jobs = jobs_of(study)
    found: dict[Job, list[Row]] = {}
    bar = tqdm(total=len(jobs), unit="run", disable=not progress)
    with bar, closing(outcomes(jobs, learn, study.jobs)) as ended:
        for outcome in ended:
            if outcome.result is None:
                run = outcome.run
                raise RuntimeError(f"{run.task}, {run.arm}, seed {run.seed}: {outcome.error}")
            found[outcome.run] = outcome.result
            bar.update()
    # Runs end in any order.
    return pd.DataFrame([row for job in jobs for row in found[job]])
