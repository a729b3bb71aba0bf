"""The grid of 120 toy15 runs, trained as stacks and one by one: time, and whether they agree.

    python -m benchmarks.batched_grid
    python -m benchmarks.batched_grid --repeats 1 --seeds 1 --jobs 1

Each way is the whole command in a process of its own: imports, training, evaluation and records,
without the report, which is the same for both. CPU time is that of the command and its workers; it
is what to compare where other work loads the machine.
"""

from __future__ import annotations

import csv
import ctypes
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import tyro

ROOT = Path(__file__).parents[1]
WAYS = ("on", "off")
# linux/prctl.h
_PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What to run, and how often."""

    repeats: int = 3
    """Times that each way is run, in turn."""
    seeds: int = 5
    """Seeds per setting: 24 runs each."""
    updates: int = 50
    """Updates per run."""
    jobs: int = 2
    """Processes."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One command."""

    wall: float
    """Seconds."""
    cpu: float
    """Seconds of all its processes, user and system."""
    ratios: dict[str, float]
    """Final J/J* by the name of the run."""


def main(settings: Settings) -> None:
    """Run both ways and print the medians."""
    found: dict[str, list[Measured]] = {way: [] for way in WAYS}
    for repeat in range(settings.repeats):
        for way in WAYS:
            with tempfile.TemporaryDirectory() as folder:
                found[way].append(measure(settings, way, Path(folder) / "grid"))
            last = found[way][-1]
            print(f"{repeat + 1}  batched {way:3}  wall {last.wall:7.1f} s  cpu {last.cpu:7.1f} s")
    for what in ("wall", "cpu"):
        on, off = (statistics.median(getattr(one, what) for one in found[way]) for way in WAYS)
        print(f"median {what:4}  batched {on:.1f} s  one by one {off:.1f} s  ratio {off / on:.2f}")
    on, off = (found[way][0].ratios for way in WAYS)
    largest = max(abs(on[run] - off[run]) for run in off)
    print(f"{len(on)} runs, largest difference of final J/J*: {largest:.2e}")


def measure(settings: Settings, way: str, folder: Path) -> Measured:
    """Run the command once.

    Raises:
        subprocess.CalledProcessError: if a run fails.
    """
    options = {
        "seeds": settings.seeds,
        "updates": settings.updates,
        "jobs": settings.jobs,
        "threads": 1,
        "batched": way,
        "out": folder,
    }
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    command = [sys.executable, str(ROOT / "scripts/ablate.py"), *words, "--no-report"]
    _adopt_orphans()
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, env={**os.environ}, cwd=ROOT)
    wall = time.perf_counter() - begun
    _wait_for_all()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    with (folder / "results.csv").open(encoding="utf-8", newline="") as file:
        ratios = {row["run_id"]: float(row["j_ratio"]) for row in csv.DictReader(file)}
    return Measured(wall=wall, cpu=cpu, ratios=ratios)


def _adopt_orphans() -> None:
    """Become the parent of what the command leaves behind: its workers' server ends after it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _wait_for_all() -> None:
    """Wait for all children, whose time is counted only then."""
    with suppress(ChildProcessError):
        while True:
            os.wait()


if __name__ == "__main__":
    main(tyro.cli(Settings))
