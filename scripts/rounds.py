"""Rounds of feedback: label new responses, learn the reward anew, train the policy further.

    python scripts/rounds.py --task reviews --rounds 3 --out runs/rounds
    python scripts/rounds.py --labels people --pairs-per-round 200 --out runs/people
    python scripts/rounds.py --reward-members 4 --reward-rule uncertainty --out runs/ensemble

The same command again goes on where an interrupted one stopped. Exit status: 0 when all rounds
are finished, 1 when something failed, 2 for settings that cannot be run, 3 when people have to
label pairs first (the message says where), 130 after Ctrl-C.
"""

from __future__ import annotations

import signal
import sys

import tyro

from studies.feedback_rounds.settings import Settings, check_settings
from studies.reporting.samples import printable


def main(arguments: list[str] | None = None) -> int:
    """Read the command line, check it, and run the rounds.

    Args:
        arguments: the command line's words; those of the process by default.

    Returns:
        The exit status.
    """
    settings = tyro.cli(Settings, args=arguments, description=(__doc__ or "").split("\n")[0])
    try:
        return rounds(settings)
    except KeyboardInterrupt:
        print(f"rounds: interrupted; the same command goes on in {settings.out}", file=sys.stderr)
        return 130


def rounds(settings: Settings) -> int:
    """Check everything before anything is made, then run.

    Returns:
        The exit status.
    """
    try:
        check_settings(settings)

        from studies.ablation.folder import ROUNDS
        from studies.training.folder import check_folder

        asked = settings.to_json()
        check_folder(settings.out, asked, ROUNDS)

        from studies.feedback_rounds.session import prepare, run

        task = prepare(settings)
    except (ValueError, OSError) as error:
        return _said(error, 2)

    from rich.console import Console

    from studies.feedback_rounds.labels import LabelsMissing

    try:
        run(settings, task, asked, Console(highlight=False, soft_wrap=True))
    except LabelsMissing as missing:
        return _said(missing, 3)
    except (ValueError, OSError) as error:
        return _said(error, 1)
    return 0


def _said(error: Exception, status: int) -> int:
    """Say in one paragraph what is wrong or waited for, and return the exit status."""
    print(f"rounds: {printable(' '.join(str(error).split()))}", file=sys.stderr)
    return status


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _interrupt)
    sys.exit(main())
