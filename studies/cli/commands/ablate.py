"""Compare agents, discounts, reward densities and time granularities over seeds.

    ablate
    ablate --agent ppo grpo --gamma 0.9 0.99 1.0 --density terminal every_k \
        --granularity token bandit --seeds 5 --task toy15 --jobs 2 --out runs/mine
    ablate --horizon 8 32 128 --task delay needles --density terminal every_1 --out runs/horizon

The same command again continues an interrupted one, and with more seeds it adds them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from studies.ablation.settings import Settings, check_settings, start_loading
from studies.cli.frame import Command, run_command

if TYPE_CHECKING:
    from studies.ablation.missing_runs import Runner


COMMAND = Command(
    name="ablate",
    description=(__doc__ or "").split("\n")[0],
    settings=Settings,
    check=check_settings,
    begin=start_loading,
    aliases={"--agents": "--agent", "--tasks": "--task", "--models": "--model"},
    session="studies.ablation.command",
    given_once=True,
    raises_interrupts=False,
)


def main(arguments: list[str] | None = None, runner: Runner | None = None) -> int:
    """Run the command; return its exit status: 1 also when some runs failed.

    Args:
        arguments: the command line's words; those of the process by default.
        runner: what runs one run; `studies.ablation.execute.execute` by default.
    """
    return run_command(COMMAND, arguments, runner=runner)
