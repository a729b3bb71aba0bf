"""Fit how the episodes that agents need grow with the horizon, on tasks whose optimum is known.

    scaling
    scaling --families lock --horizons 8 16 32 --agents ppo --out runs/mine

Writes arrivals.csv and scaling.png, and prints the tables as Markdown. The same command continues
an interrupted one; more seeds may be asked for later.
"""

from __future__ import annotations

from studies.cli.frame import Command, run_command
from studies.scaling.settings import Study, check_study

COMMAND = Command(
    name="scaling",
    description=(__doc__ or "").split("\n")[0],
    settings=Study,
    check=check_study,
    aliases={"--agent": "--agents", "--family": "--families", "--horizon": "--horizons"},
    session="studies.scaling.command",
)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit status."""
    return run_command(COMMAND, arguments)
