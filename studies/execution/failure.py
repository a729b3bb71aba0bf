"""The error with which a command fails, with its exit status."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class CommandFailed(Exception):
    """What went wrong, as one sentence for the user."""

    def __init__(self, sentence: str, status: int = 1) -> None:
        """Keep the exit status: 1 for failed work, 2 for settings, others as documented."""
        super().__init__(sentence)
        self.status = status


@contextmanager
def failing(*kinds: type[Exception]) -> Iterator[None]:
    """Let errors of these kinds, raised by the work inside, be a command's failure.

    Raises:
        CommandFailed: with the error's sentence.
    """
    try:
        yield
    except kinds as error:
        raise CommandFailed(str(error)) from error
