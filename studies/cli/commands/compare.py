"""Compare two saved agents on the same prompts with the same random numbers.

compare runs/a runs/b
compare my-agent another --task reviews --episodes 1000 --out runs/match
"""

from __future__ import annotations

from studies.cli.frame import Command, run_command
from studies.evaluation.settings import Compare, check_compare
from studies.training.settings import spell

COMMAND = Command(
    name="compare",
    description=(__doc__ or "").split("\n")[0],
    settings=Compare,
    check=check_compare,
    spell=spell,
    session="studies.evaluation.compare",
)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit status."""
    return run_command(COMMAND, arguments)
