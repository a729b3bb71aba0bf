"""The work of `scripts/scaling.py`."""

from __future__ import annotations

from studies.execution.failure import failing
from studies.scaling.session import run_study
from studies.scaling.settings import Study


def run(study: Study) -> None:
    """Run the study.

    Raises:
        CommandFailed: if a run or a file failed.
    """
    with failing(RuntimeError, ValueError, OSError):
        run_study(study)
