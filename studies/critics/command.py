"""The work of `scripts/critics.py`."""

from __future__ import annotations

from studies.critics.session import run_study
from studies.critics.settings import Study
from studies.execution.failure import failing


def run(study: Study) -> None:
    """Run the study.

    Raises:
        CommandFailed: if a run or a file failed.
    """
    with failing(RuntimeError, OSError):
        run_study(study)
