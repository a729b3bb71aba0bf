"""Measure what time granularity and reward density do to gradient noise and learning speed.

    variance
    variance --rollouts 48 --seeds 3 --jobs 4 --out runs/mine

Writes noise.csv, episodes.csv and variance.png, and prints both tables as Markdown.
"""

from __future__ import annotations

from studies.cli.frame import Command, run_command
from studies.variance.settings import Study, check_study

COMMAND = Command(
    name="variance",
    description=(__doc__ or "").split("\n")[0],
    settings=Study,
    check=check_study,
    aliases={"--agent": "--agents"},
    session="studies.variance.command",
)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit status."""
    return run_command(COMMAND, arguments)
