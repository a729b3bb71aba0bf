"""Terminals and files of any encoding."""

from __future__ import annotations

import io
import sys


def accept_any_text() -> None:
    """Let standard output and error write what their encoding lacks as escapes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
