"""Training beside busy neighbors: the default number of threads against every fixed one.

    python -m benchmarks.busy --neighbors 3 --out busy

Each neighbor is a process that computes without a pause. The sides are this project's, each in a
process of its own: one chooses its threads as the commands do, the others are told. They take turns
step by step; ratios are medians over the turns. Writes busy.md.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import tyro

from benchmarks.models import make_folder
from benchmarks.rows import ROWS
from benchmarks.sides import Side
from benchmarks.works import Order
from rlhf_env.files import write_atomically
from studies.execution.cores import available_cores

_HEADER = "| work | threads | s a step | times the best |\n|---|---|---|---|\n"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is timed beside how many neighbors."""

    neighbors: int = 3
    """Busy processes beside the one that is timed."""
    rows: tuple[str, ...] = ("grpo-1m", "grpo-15m")
    """Rows of `benchmarks.compare` whose work is done."""
    steps: int = 5
    """Timed steps of each side; one more comes first and is not counted."""
    out: Path = Path("busy")
    """Path of the table, without the extension."""


def main(settings: Settings) -> None:
    """Time all rows, print the table and write it."""
    known = {row.key: row for row in ROWS}
    for key in settings.rows:
        if key not in known:
            raise SystemExit(f"rows must be among {list(known)}, got {key!r}")
    lines = []
    with neighbors(settings.neighbors):
        for key in settings.rows:
            seconds = time_threads(key, settings.steps)
            lines.append(lines_of(known[key].label, seconds))
            print(lines[-1], end="", flush=True)
    said = f"{available_cores()} cores, {settings.neighbors} busy neighbors.\n\n"
    table = said + _HEADER + "".join(lines)
    write_atomically(settings.out.with_suffix(".md"), table.encode())


@contextmanager
def neighbors(count: int) -> Iterator[None]:
    """Keep processes busy inside."""
    each = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        # The load average, by which a process sees them at its start, rises slowly.
        time.sleep(20.0 if count else 0.0)
        yield
    finally:
        for process in each:
            process.kill()
            process.wait()


def time_threads(key: str, steps: int) -> dict[str, list[float]]:
    """Return the seconds of each side's steps; 0 threads are those of its own choice."""
    row = next(row for row in ROWS if row.key == key)
    found: dict[str, list[float]] = {}
    with ExitStack() as stack:
        sides = {}
        for threads in (0, *range(1, available_cores() + 1)):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            make_folder(row.own, folder, None)
            order = Order(work=row.own, folder=folder, threads=threads, steps=steps + 2)
            title = str(threads) if threads else "default"
            sides[title] = stack.enter_context(Side("own", Path(sys.executable), order))
        for number in range(steps + 1):
            for title, side in sides.items():
                seconds = side.step().seconds
                if number:
                    found.setdefault(title, []).append(seconds)
    return found


def lines_of(label: str, seconds: dict[str, list[float]]) -> str:
    """Return a row's lines of the table: medians, and how many times the shortest they are."""
    medians = {title: statistics.median(each) for title, each in seconds.items()}
    best = min(medians[title] for title in seconds if title != "default")
    return "".join(
        f"| {label} | {title} | {median:.3f} | {median / best:.2f} |\n"
        for title, median in medians.items()
    )


if __name__ == "__main__":
    os.environ.pop("OMP_NUM_THREADS", None)
    main(tyro.cli(Settings, description=__doc__))
