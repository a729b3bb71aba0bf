"""Commands in processes of their own, to be killed while they work."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from tests.studies.toy_grids import rows

ROOT = Path(__file__).parents[2]


def start(script: str, folder: Path, *words: str) -> subprocess.Popen[str]:
    """Start a script of `scripts` that writes to a folder, in a session of its own."""
    command = [sys.executable, f"scripts/{script}", *words, "--out", str(folder)]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str]) -> str:
    """Wait for a command that has to end well; return what it said."""
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    return out


def wait_for(folder: Path, pattern: str, process: subprocess.Popen[str]) -> None:
    """Wait until a running command has written a file of that name."""
    while not list(folder.glob(pattern)):
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.05)


def measured(folder: Path) -> list[dict[str, str]]:
    """Return the rows of a grid, less what is of a run and not of what it learned."""
    return [{**row, "seconds": "", "command": ""} for row in rows(folder)]
