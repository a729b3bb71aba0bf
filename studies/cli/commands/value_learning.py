"""Measure where value-based and path methods end up, and how many fresh episodes they need.

    value-learning
    value-learning --parts fixed breaks --out runs/mine

Writes a file of rows for each part and task, and prints the tables as Markdown.
"""

from __future__ import annotations

from studies.cli.frame import Command, run_command
from studies.value_learning.settings import Study, check_study

COMMAND = Command(
    name="value_learning",
    description=(__doc__ or "").split("\n")[0],
    settings=Study,
    check=check_study,
    aliases={"--part": "--parts", "--task": "--tasks"},
    session="studies.value_learning.command",
)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit status."""
    return run_command(COMMAND, arguments)
