"""The work of `scripts/value_learning.py`."""

from __future__ import annotations

from studies.execution.failure import failing
from studies.value_learning.session import run_study
from studies.value_learning.settings import Study


def run(study: Study) -> None:
    """Run the study.

    Raises:
        CommandFailed: if a run or the file failed.
    """
    with failing(RuntimeError, OSError):
        run_study(study)
