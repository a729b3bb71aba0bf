"""The answer to ``--version``, before anything else on the command line is looked at."""

from __future__ import annotations

from collections.abc import Sequence

from rlhf_env import __version__


def is_version_asked(words: Sequence[str]) -> bool:
    """Print the version and return True where the command line asks for it."""
    if "--version" not in words:
        return False
    print(f"rlhf-env {__version__}")
    return True
