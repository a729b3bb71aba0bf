"""The work of `scripts/variance.py`."""

from __future__ import annotations

from studies.execution.failure import failing
from studies.variance.session import run_study
from studies.variance.settings import Study


def run(study: Study) -> None:
    """Run the study.

    Raises:
        CommandFailed: if a run or a file failed.
    """
    with failing(RuntimeError, OSError):
        run_study(study)
