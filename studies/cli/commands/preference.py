"""Learn from comparisons directly and by a reward model, and measure both by the exact truth.

    preference
    preference --methods dpo reward_ppo --pairs 200 5000 --seeds 3 --out runs/mine

Writes points.csv and preference.png, and prints the table as Markdown. The same command continues
an interrupted one; more seeds, methods and amounts of data may be asked for later.
"""

from __future__ import annotations

from studies.cli.frame import Command, run_command
from studies.preference.settings import Study, check_study

COMMAND = Command(
    name="preference",
    description=(__doc__ or "").split("\n")[0],
    settings=Study,
    check=check_study,
    session="studies.preference.command",
)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit status."""
    return run_command(COMMAND, arguments)
