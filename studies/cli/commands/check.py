"""Check a task, reward, environment, wrapper, algorithm, agent or loss against its contract.

check my_reward.py:score
check my_package.losses:ppo_loss --kind policy_loss --names logprobs=log_prob
check --list
"""

from __future__ import annotations

from studies.cli.frame import Command, run_command
from studies.conformance.settings import Check, check_settings

COMMAND = Command(
    name="check",
    description=(__doc__ or "").split("\n")[0],
    settings=Check,
    check=check_settings,
    session="studies.conformance.check",
)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit status."""
    return run_command(COMMAND, arguments)
