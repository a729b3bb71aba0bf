"""The work of `scripts/rounds.py`: check, claim the folder, run the rounds."""

from __future__ import annotations

from rich.console import Console

from studies.execution.failure import CommandFailed
from studies.feedback_rounds import session
from studies.feedback_rounds.labels import LabelsMissing
from studies.feedback_rounds.settings import Settings
from studies.results.folder import ROUNDS
from studies.results.run_folder import check_folder, check_writable

LABELS_WANTED = 3


def run(settings: Settings) -> None:
    """Check everything before anything is made, then run.

    Raises:
        ValueError: if something cannot be used.
        CommandFailed: if work or writing failed, or people have to label pairs first.
    """
    asked = settings.to_json()
    check_folder(settings.out, asked, ROUNDS)
    check_writable(settings.out)
    task = session.prepare(settings)
    try:
        session.run(settings, task, asked, Console(highlight=False, soft_wrap=True))
    except LabelsMissing as missing:
        raise CommandFailed(str(missing), LABELS_WANTED) from missing
    except (ValueError, OSError) as error:
        raise CommandFailed(str(error)) from error
