"""Let people judge responses in a browser: compare, rank, thumbs, ratings, marked parts.

    label --data pairs.jsonl --out runs/labels
    label --data runs/ppo/samples.jsonl --ask mark --error-types wrong rude --out runs/marks
    label --data pairs.jsonl --out runs/labels --annotators-per-item 2 --instructions guide.txt
    label --out runs/labels --export

Ctrl-C closes the page; the same command opens it again, and no click is lost.
"""

from __future__ import annotations

from studies.cli.frame import Command, run_command
from studies.labelling.settings import Settings, check_settings

COMMAND = Command(
    name="label",
    description=(__doc__ or "").split("\n")[0],
    settings=Settings,
    check=check_settings,
    session="studies.labelling.command",
)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit status."""
    return run_command(COMMAND, arguments)
