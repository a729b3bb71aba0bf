"""Compare agents, discounts, reward densities and time granularities over seeds.

    python scripts/ablate.py
    python scripts/ablate.py --agent ppo grpo --gamma 0.9 0.99 1.0 --density terminal every_k \
        --granularity token bandit --seeds 5 --task toy15 --jobs 2 --out runs/mine

The same command again goes on where an interrupted one stopped, and with more seeds it adds
them. Exit status: 0 when all runs ended well, 1 when some failed, 2 for settings or a folder that
cannot be used, 130 after Ctrl-C or SIGTERM.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

# The rest is imported in `main`, when an interrupt can no longer end in a traceback.
from studies.ablation.interrupts import end, leave_on_signals

if TYPE_CHECKING:
    from studies.ablation.pool import Runner


def main(arguments: list[str] | None = None, runner: Runner | None = None) -> int:
    """Read the command line, run what is missing of the grid, and report.

    Args:
        arguments: the command line's words; those of the process by default.
        runner: what runs one run; `studies.ablation.runs.execute` by default.

    Returns:
        The exit status.
    """
    from studies.ablation.command import run

    return run(arguments, runner, description=(__doc__ or "").split("\n")[0])


if __name__ == "__main__":
    leave_on_signals()
    end(main())
