"""Grade how well each credit assignment finds the tokens that earned the score.

    credit
    credit --tasks needles-16 --seeds 3 --out runs/mine

Writes credit.csv and prints the table as Markdown.
"""

from __future__ import annotations

from studies.cli.frame import Command, run_command
from studies.credit.settings import Study, check_study

COMMAND = Command(
    name="credit",
    description=(__doc__ or "").split("\n")[0],
    settings=Study,
    check=check_study,
    aliases={"--task": "--tasks"},
    session="studies.credit.command",
)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit status."""
    return run_command(COMMAND, arguments)
