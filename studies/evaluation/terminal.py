"""What a command says, and the status it ends with."""

from __future__ import annotations

import sys
from collections.abc import Callable

from rich.console import Console

from studies.ablation.streams import accept_any_text
from studies.reporting.samples import printable
from studies.training.settings import as_typed

INTERRUPTED = 130


def console() -> Console:
    """Return the terminal."""
    return Console(highlight=False, soft_wrap=True)


def guarded(command: str, work: Callable[[], None]) -> int:
    """Do the work; say in one line what was wrong with it.

    Args:
        command: its name, with which the line begins.
        work: raises ValueError for what cannot be used, OSError for what cannot be written.

    Returns:
        The exit status.
    """
    accept_any_text()
    try:
        work()
    except ValueError as error:
        return _refused(command, str(error), 2)
    except OSError as error:
        return _refused(command, f"cannot write: {error}", 1)
    except KeyboardInterrupt:
        return _refused(command, "interrupted; nothing was changed", INTERRUPTED)
    return 0


def _refused(command: str, sentence: str, status: int) -> int:
    plain = printable(as_typed(" ".join(sentence.split())))
    print(f"{command}: {plain}", file=sys.stderr)
    return status
