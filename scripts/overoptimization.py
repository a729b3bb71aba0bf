"""Optimise proxy rewards by best-of-n and PPO until the true reward suffers, and say where.

    python scripts/overoptimization.py
    python scripts/overoptimization.py --seeds 5 --pairs 250 4000 --jobs 4 --out runs/mine
    python scripts/overoptimization.py --learning.updates 0 --rules

Writes points.csv, fits.csv and overoptimization.png, and prints the tables as Markdown. The same
command goes on where it was interrupted; more seeds may be asked for later. Exit status: 0 when
everything ran, 1 when a piece or a file failed, 2 for settings that cannot be used, 130 after
Ctrl-C.
"""

from __future__ import annotations

import sys

import tyro

from studies.overoptimization.folder import claim_folder
from studies.overoptimization.settings import Study, check_study


def main(arguments: list[str] | None = None) -> int:
    """Read the command line, check it, and run the study.

    Args:
        arguments: the command line's words; those of the process by default.

    Returns:
        The exit status.
    """
    study = tyro.cli(Study, args=arguments, description=(__doc__ or "").split("\n")[0])
    try:
        check_study(study)
        claim_folder(study)
    except (ValueError, OSError) as error:
        return _refused(error, 2)
    try:
        # Imported late: a command line is read without torch.
        from studies.overoptimization.session import run_study

        run_study(study)
    except (RuntimeError, OSError, ValueError) as error:
        return _refused(error, 1)
    except KeyboardInterrupt:
        print(
            "overoptimization: interrupted; what is finished is kept, the same command goes on",
            file=sys.stderr,
        )
        return 130
    return 0


def _refused(error: Exception, status: int) -> int:
    """Say in one line what was wrong, and return the exit status."""
    print(f"overoptimization: {' '.join(str(error).split())}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
