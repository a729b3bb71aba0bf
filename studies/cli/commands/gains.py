"""Show what one value of an ablation's axis gains over another, seed by seed, with intervals.

    gains runs/ablation --axis density --over terminal --measures score kl

Prints a Markdown table for each task.
"""

from __future__ import annotations

from studies.cli.frame import Command, run_command
from studies.gains.settings import Settings, check_settings

COMMAND = Command(
    name="gains",
    description=(__doc__ or "").split("\n")[0],
    settings=Settings,
    check=check_settings,
    aliases={"--measure": "--measures"},
    session="studies.gains.command",
)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit status."""
    return run_command(COMMAND, arguments)
