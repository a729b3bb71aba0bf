"""Measure how early signals of reward hacking speak, and how often without a reason.

    early-warning
    early-warning --seeds 8 --out runs/mine

Trains PPO on the task "reviews" against proxies that are wrong, against the same held close by a
strong KL penalty, and against the truth. Writes points.csv and alarms.json, and prints the tables.
The same command continues an interrupted one; more seeds may be asked for later.
"""

from __future__ import annotations

from studies.cli.frame import Command, run_command
from studies.early_warning.settings import Study, check_study

COMMAND = Command(
    name="early-warning",
    description=(__doc__ or "").split("\n")[0],
    settings=Study,
    check=check_study,
    session="studies.early_warning.command",
)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit status."""
    return run_command(COMMAND, arguments)
