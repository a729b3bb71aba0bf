"""Rounds of feedback: label new responses, learn the reward anew, train the policy further.

    rounds --task reviews --rounds 3 --out runs/rounds
    rounds --labels people --pairs-per-round 200 --out runs/people
    rounds --policy dpo --out runs/dpo-rounds
    rounds --reward-members 4 --reward-rule uncertainty --out runs/ensemble

The same command again continues an interrupted one. The exit status is 3 when people have to
label pairs first; the message says where.
"""

from __future__ import annotations

from studies.cli.frame import Command, run_command
from studies.feedback_rounds.settings import Settings, check_settings

COMMAND = Command(
    name="rounds",
    description=(__doc__ or "").split("\n")[0],
    settings=Settings,
    check=check_settings,
    session="studies.feedback_rounds.command",
)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit status."""
    return run_command(COMMAND, arguments)
