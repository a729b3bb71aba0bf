"""Train a reward model on people's judgments and say how good it is on prompts it never saw.

reward_report --data train.jsonl.gz --test test.jsonl.gz --out runs/pairs
reward_report --data train.jsonl.gz --test test.jsonl.gz --model my-model \
        --field prompt= response=text rating=mean --out runs/ratings
reward_report --data train.jsonl.gz --test test.jsonl.gz \
        --reward runs/reward --also llmbar.jsonl.gz --out runs/report
"""

from __future__ import annotations

from studies.cli.frame import Command, run_command
from studies.reward_report.settings import FORMER_OPTIONS, Settings

COMMAND = Command(
    name="reward_report",
    description=(__doc__ or "").split("\n")[0],
    settings=Settings,
    check=Settings.check,
    aliases=FORMER_OPTIONS,
    session="studies.reward_report.command",
)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit status."""
    return run_command(COMMAND, arguments)
