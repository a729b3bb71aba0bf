"""Measure what time granularity and reward density do to gradient noise and learning speed.

    python scripts/variance.py
    python scripts/variance.py --rollouts 48 --seeds 3 --jobs 4 --out runs/mine
    OMP_NUM_THREADS=1 python scripts/variance.py --out docs/results/variance

Writes noise.csv, episodes.csv and variance.png, and prints both tables as Markdown. Exit status: 0
when everything ran, 1 when a run or a file failed, 2 for settings that cannot be used, 130 after
Ctrl-C.
"""

from __future__ import annotations

import sys

import tyro

from studies.variance.settings import Study, check_study


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
    except ValueError as error:
        return _refused(error, 2)
    try:
        # Imported late: a command line is read without torch.
        from studies.variance.session import run_study

        run_study(study)
    except (RuntimeError, OSError) as error:
        return _refused(error, 1)
    except KeyboardInterrupt:
        print("variance: interrupted; the same command starts again", file=sys.stderr)
        return 130
    return 0


def _refused(error: Exception, status: int) -> int:
    """Say in one line what was wrong, and return the exit status."""
    print(f"variance: {' '.join(str(error).split())}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
