"""A small grid of stand-ins for training, and what its folder holds."""

from __future__ import annotations

import csv
from pathlib import Path

from studies.cli.commands.ablate import main
from studies.execution.pool import Runner
from tests.studies.toy_runs import quick

SMALL = [
    *("--agent", "ppo", "grpo", "--gamma", "0.5", "1.0", "--density", "terminal"),
    *("--granularity", "token", "--seeds", "2", "--updates", "2", "--jobs", "1"),
]


def given(*more: str) -> list[str]:
    """Return the words of `SMALL`, less the options that are given otherwise."""
    own = [*SMALL]
    for option in (word for word in more if word[:2] == "--" and word in own):
        begin = own.index(option)
        end = begin + 1
        while end < len(own) and not own[end].startswith("--"):
            end += 1
        del own[begin:end]
    return [*own, *more]


def ablate(folder: Path, *more: str, runner: Runner = quick) -> int:
    report = () if "--report" in more else ("--no-report",)
    return main([*given(*more), *report, "--out", str(folder)], runner)


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "results.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def contents(folder: Path) -> dict[Path, bytes]:
    return {
        path: path.read_bytes()
        for path in folder.rglob("*")
        # A file that is just being written has this name until it is whole.
        if path.is_file() and path.name != ".pid" and path.suffix != ".partial"
    }
