"""Make the report of an ablation: one HTML file without external resources, and its figures.

python scripts/report.py runs/ablation
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import tyro

Folder = Annotated[
    Path,
    tyro.conf.Positional,
    tyro.conf.arg(
        metavar="FOLDER", help="The --out of scripts/ablate.py; the report goes there too."
    ),
]


def main(arguments: list[str] | None = None) -> int:
    """Make the report of the folder on the command line; return the exit status."""
    folder = tyro.cli(Folder, args=arguments, description=(__doc__ or "").split("\n")[0])
    from studies.reporting.report import check_folder, make_report

    try:
        check_folder(folder)
        paths = make_report(folder)
    except ValueError as error:
        print(f"report: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"report: {error}", file=sys.stderr)
        return 1
    for path in paths:
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
