"""The work of `scripts/zoo.py`: list, run, report, new."""

from __future__ import annotations

from pathlib import Path

from rlhf_env.files import write_atomically
from studies.execution.failure import failing
from studies.zoo.registry import Entry, entries, find
from studies.zoo.session import read_finding, read_findings, run_claim, say, write_report
from studies.zoo.settings import ALL, List, New, Report, Run
from studies.zoo.template import template


def run(settings: List | Run | Report | New) -> None:
    """Do what is asked.

    Raises:
        ValueError: if there is no such claim, or a table cannot be read.
        CommandFailed: if a run or a file failed.
    """
    with failing(RuntimeError, OSError):
        match settings:
            case List():
                _list(settings.out)
            case Run():
                _run(settings)
            case Report():
                _report(settings.out)
            case New():
                _new(settings)


def _list(out: Path) -> None:
    for entry in entries():
        claim = entry.load()
        known = read_finding(entry, claim, out)
        print(f"{'not run' if known is None else known.verdict:<9}  {entry.name}: {claim.title}")


def _run(settings: Run) -> None:
    chosen: dict[str, Entry] = {}
    for name in settings.names:
        for entry in entries() if name == ALL else [find(name)]:
            chosen[entry.name] = entry
    for entry in chosen.values():
        # All that could be wrong with a file is said before the first run.
        entry.load()
    for entry in chosen.values():
        say(run_claim(entry, settings.out, again=settings.again, jobs=settings.jobs))
    own = [entry for entry in chosen.values() if entry.is_file]
    for path in write_report(settings.out, read_findings(settings.out, own)):
        print(path)


def _report(out: Path) -> None:
    found = read_findings(out)
    if not found:
        raise ValueError(f"out must hold the tables of claims, got {out} without any; run some")
    for path in write_report(out, found):
        print(path)


def _new(settings: New) -> None:
    path = settings.folder / f"{settings.name.replace('-', '_')}.py"
    if path.exists():
        raise ValueError(f"name must be new, got {settings.name!r} with {path} there already")
    settings.folder.mkdir(parents=True, exist_ok=True)
    write_atomically(path, template(settings.name).encode())
    print(f"{path}\npython scripts/zoo.py run {path}")
