"""The whole study: measure, write the files, print the tables."""

from __future__ import annotations

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
    rows = measure(study, progress=progress)
    write_atomically(study.out / "estimators.csv", as_csv(rows))
    tables = page(rows)
    write_atomically(study.out / "estimators.md", tables.encode())
    print(tables)
