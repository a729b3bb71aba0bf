"""Measure published claims again: each has a setting, a deciding contrast and a verdict.

    zoo list
    zoo run discount-on-score
    zoo run all --jobs 2
    zoo report
    zoo new my-claim

A run continues from the rows that its folder has; docs/zoo.md says how to read a verdict.
"""

from __future__ import annotations

from studies.cli.frame import Command, run_command
from studies.zoo.settings import Settings, check_settings

COMMAND = Command(
    name="zoo",
    description=(__doc__ or "").split("\n")[0],
    settings=Settings,
    check=check_settings,
    session="studies.zoo.command",
)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit status."""
    return run_command(COMMAND, arguments)
