"""The settings of `scripts/zoo.py`: what to do, with which claims. Torch is not imported."""

from __future__ import annotations

import keyword
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from studies.experiment.checks import check_jobs

ALL = "all"
DOCUMENTED = Path("docs/results/zoo")


@dataclass(frozen=True, kw_only=True)
class List:
    """List the claims with their verdicts so far."""

    out: Path = DOCUMENTED
    """Folder of the rows."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """Run claims: what is missing of them, or all anew."""

    names: tyro.conf.Positional[tuple[str, ...]]
    """Claims, paths of files with one, or all."""
    out: Path = Path("runs/zoo")
    """Folder that gets a table and a page per claim; the index is beside it."""
    again: bool = False
    """Run all again, also what the folder has."""
    jobs: int = 1
    """Processes."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """Write the pages, the index and the picture anew from the tables."""

    out: Path = DOCUMENTED
    """Folder of the tables."""


@dataclass(frozen=True, kw_only=True)
class New:
    """Write the file of a new claim, which runs as it is."""

    name: tyro.conf.Positional[str]
    """Of the claim: small letters, digits and hyphens."""
    folder: Path = Path("claims")
    """Folder that gets the file."""


Settings = (
    Annotated[List, tyro.conf.subcommand("list")]
    | Annotated[Run, tyro.conf.subcommand("run")]
    | Annotated[Report, tyro.conf.subcommand("report")]
    | Annotated[New, tyro.conf.subcommand("new")]
)


def check_settings(settings: List | Run | Report | New) -> None:
    """Refuse what cannot be used.

    Raises:
        ValueError: one sentence with what is wrong, what was given, and what would be right.
    """
    if isinstance(settings, New):
        word = settings.name.replace("-", "_")
        if not word.isidentifier() or keyword.iskeyword(word) or word != word.lower():
            raise ValueError(
                "name must be small letters, digits and hyphens, beginning with a letter, got "
                f"{settings.name!r}; write for example my-claim"
            )
        return
    if isinstance(settings, Run):
        check_jobs(settings.jobs)
        if not settings.names:
            raise ValueError("names must be claims of `zoo list`, or all, got none")
    if settings.out.exists() and not settings.out.is_dir():
        raise ValueError(f"out must be a folder, got the file {settings.out}; name another")
