"""Write a saved agent's policy as a Hugging Face model folder, or its adapter for peft.

export runs/a --out my-model
export runs/a --adapter --out my-adapter
"""

from __future__ import annotations

from studies.cli.frame import Command, run_command
from studies.evaluation.settings import Export, check_export
from studies.training.settings import spell

COMMAND = Command(
    name="export",
    description=(__doc__ or "").split("\n")[0],
    settings=Export,
    check=check_export,
    spell=spell,
    session="studies.evaluation.export",
)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit status."""
    return run_command(COMMAND, arguments)
