"""Optimize proxy rewards by best-of-n and PPO until the true reward suffers, and say where.

    overoptimization
    overoptimization --seeds 5 --pairs 250 4000 --jobs 4 --out runs/mine
    overoptimization --updates 0 --rules

Writes points.csv, fits.csv and overoptimization.png, and prints the tables as Markdown. The same
command continues an interrupted one; more seeds may be asked for later.
"""

from __future__ import annotations

from studies.cli.frame import Command, run_command
from studies.overoptimization.settings import FORMER_OPTIONS, Study, check_study

COMMAND = Command(
    name="overoptimization",
    description=(__doc__ or "").split("\n")[0],
    settings=Study,
    check=check_study,
    aliases=FORMER_OPTIONS,
    session="studies.overoptimization.command",
)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit status."""
    return run_command(COMMAND, arguments)
