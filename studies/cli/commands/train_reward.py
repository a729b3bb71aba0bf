"""Train a reward model on what people said about responses.

train_reward --data pairs.jsonl --model my-model --out runs/reward
train_reward --data train.jsonl.gz --held-out test.jsonl.gz \
        --field prompt=instruction+input --model my-model --out runs/votes --members 3
train_reward --data ratings.parquet --field prompt= response=text \
        rating=mean --model my-model --out runs/ratings
"""

from __future__ import annotations

from studies.cli.frame import Command, run_command
from studies.reward_training.settings import Settings

COMMAND = Command(
    name="train_reward",
    description=(__doc__ or "").split("\n")[0],
    settings=Settings,
    check=Settings.check,
    session="studies.reward_training.command",
)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit status."""
    return run_command(COMMAND, arguments)
