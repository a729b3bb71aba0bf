"""Evaluate a saved agent: scores, KL and lengths with intervals, beside its reference's.

evaluate runs/a
evaluate my-agent --task reviews --episodes 1000 --out runs/a-again
"""

from __future__ import annotations

from studies.cli.frame import Command, run_command
from studies.evaluation.settings import Evaluate, check_evaluate
from studies.training.settings import spell

COMMAND = Command(
    name="evaluate",
    description=(__doc__ or "").split("\n")[0],
    settings=Evaluate,
    check=check_evaluate,
    spell=spell,
    session="studies.evaluation.evaluate",
)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit status."""
    return run_command(COMMAND, arguments)
