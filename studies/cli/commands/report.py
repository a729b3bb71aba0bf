"""Make the report of an ablation: one HTML file without external resources, and its figures.

report runs/ablation
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from studies.cli.frame import Command, run_command

Folder = Annotated[
    Path,
    tyro.conf.Positional,
    tyro.conf.arg(metavar="FOLDER", help="The --out of the ablation; the report goes there too."),
]


COMMAND = Command(
    name="report",
    description=(__doc__ or "").split("\n")[0],
    settings=Folder,
    session="studies.reporting.command",
)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit status."""
    return run_command(COMMAND, arguments)
