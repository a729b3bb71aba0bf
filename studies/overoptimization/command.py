"""The work of `scripts/overoptimization.py`."""

from __future__ import annotations

from studies.execution.failure import failing
from studies.overoptimization.folder import claim_folder
from studies.overoptimization.session import run_study
from studies.overoptimization.settings import Study


def run(study: Study) -> None:
    """Claim the folder and do what is missing in it.

    Raises:
        ValueError: if the folder holds another study.
        CommandFailed: if a piece of work or a file failed.
    """
    try:
        claim_folder(study)
    except OSError as error:
        raise ValueError(str(error)) from error
    with failing(RuntimeError, OSError, ValueError):
        run_study(study)
