"""Train one agent on one task: a built-in one, or your model, prompts and reward.

    train --task reviews --agent ppo --episodes 4096 --out runs/a
    train --model my-model --prompts stories.jsonl --prompt-sentences 1 \
        --ratings ratings.jsonl --agent ppo --kl-coef 0.05 --max-new-tokens 48 --out runs/b
    train --model my-model --prompts prompts.txt --reward my_reward.py:score

The same command again continues an interrupted one. After ``torchrun --nproc_per_node 2`` or
``accelerate launch --num_processes 2`` in place of ``python`` two processes share the work.
"""

from __future__ import annotations

from studies.cli.frame import Command, run_command
from studies.training.checks import check_settings
from studies.training.settings import Settings, spell

COMMAND = Command(
    name="train",
    description=(__doc__ or "").split("\n")[0],
    settings=Settings,
    check=check_settings,
    spell=spell,
    session="studies.training.command",
    several_processes=True,
)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit status."""
    return run_command(COMMAND, arguments)
