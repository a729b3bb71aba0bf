"""The work of `scripts/estimators.py`."""

from __future__ import annotations

from studies.estimators.session import run_study
from studies.estimators.settings import Study
from studies.execution.failure import failing


def run(study: Study) -> None:
    """Run the study.

    Raises:
        CommandFailed: if a run or a file failed.
    """
    with failing(RuntimeError, OSError):
        run_study(study)
