"""The whole study: measure, write the files, print the tables."""

from __future__ import annotations

from io import BytesIO

import pandas as pd

from rlhf_env.files import write_atomically
from studies.estimators.measure import measure
from studies.estimators.settings import Study
from studies.estimators.tables import page
from studies.results.csv_files import as_csv


def run_study(study: Study, *, progress: bool = True) -> None:
    """Measure everything; files that are there are replaced.

    Raises:
        OSError: if a file cannot be written.
    """
    study.out.mkdir(parents=True, exist_ok=True)
    written = as_csv(measure(study, progress=progress))
    write_atomically(study.out / "estimators.csv", written)
    tables = page(pd.read_csv(BytesIO(written)))  # of the digits written: rounded once more
    write_atomically(study.out / "estimators.md", tables.encode())
    print(tables)
