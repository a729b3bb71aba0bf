"""Terminals and files of any encoding."""

from __future__ import annotations

import io
import sys


def accept_any_text() -> None:
    """Make standard output and error escape characters that their encoding lacks."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
