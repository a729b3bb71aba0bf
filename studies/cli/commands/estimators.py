"""Measure bias and variance of the gradient estimators of agents against the exact gradient.

    estimators
    estimators --disputes kl critic --out runs/mine

Writes estimators.csv and estimators.md, and prints the latter.
"""

from __future__ import annotations

from studies.cli.frame import Command, run_command
from studies.estimators.settings import Study, check_study

COMMAND = Command(
    name="estimators",
    description=(__doc__ or "").split("\n")[0],
    settings=Study,
    check=check_study,
    aliases={"--dispute": "--disputes"},
    session="studies.estimators.command",
)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit status."""
    return run_command(COMMAND, arguments)
