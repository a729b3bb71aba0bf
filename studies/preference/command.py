"""The work of `scripts/preference.py`: do what is missing, write the files, print the table."""

from __future__ import annotations

from contextlib import closing
from functools import partial

import pandas as pd
from tqdm import tqdm

from rlhf_env.files import write_atomically
from studies.execution.failure import failing
from studies.execution.pool import outcomes
from studies.preference.figure import draw
from studies.preference.folder import claim_folder
from studies.preference.settings import Study
from studies.preference.tables import ends_table
from studies.preference.work import make_points, points_file
from studies.reporting.plots import Plot, png
from studies.reporting.style import LIGHT
from studies.results.csv_files import as_csv


def run(study: Study) -> None:
    """Claim the folder and do what is missing in it.

    Raises:
        ValueError: if the folder holds another study.
        CommandFailed: if a job or a file failed.
    """
    try:
        claim_folder(study)
    except OSError as error:
        raise ValueError(str(error)) from error
    with failing(RuntimeError, OSError):
        _run(study)


def _run(study: Study) -> None:
    jobs = [job for job in study.all_jobs() if not points_file(study, job).is_file()]
    make = partial(make_points, study)
    with tqdm(total=len(jobs), unit="job") as bar:
        if study.jobs == 1:
            for job in jobs:
                make(job)
                bar.update()
        elif jobs:
            with closing(outcomes(jobs, make, study.jobs, threads=1)) as ended:
                for outcome in ended:
                    if outcome.error:
                        raise RuntimeError(f"{outcome.run.name} failed: {outcome.error}")
                    bar.update()
    points = pd.concat([pd.read_csv(points_file(study, job)) for job in study.all_jobs()])
    write_atomically(study.out / "points.csv", as_csv(points))
    plot = Plot(name="preference", title="", caption="", draw=lambda stacked: draw(points, study))
    write_atomically(study.out / "preference.png", png(plot, LIGHT))
    print(f"\n{ends_table(points, study)}", flush=True)
