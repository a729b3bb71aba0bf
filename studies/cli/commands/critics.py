"""Measure what an untrained critic does to the first updates of PPO, and what mends it.

    critics
    critics --tasks delay-64 --seeds 3 --out runs/mine

Writes curves.csv and critics.png, and prints the tables as Markdown.
"""

from __future__ import annotations

from studies.cli.frame import Command, run_command
from studies.critics.settings import Study, check_study

COMMAND = Command(
    name="critics",
    description=(__doc__ or "").split("\n")[0],
    settings=Study,
    check=check_study,
    aliases={"--task": "--tasks"},
    session="studies.critics.command",
)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit status."""
    return run_command(COMMAND, arguments)
