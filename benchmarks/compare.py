"""Compare this project with TRL and with bare PyTorch on the same work, in one run.

    python -m benchmarks.compare --trl-python ENV/bin/python --trl-ppo-python ENV12/bin/python \
        --model-dir stories260k --out comparison

The first environment holds TRL 1.16, the second TRL 1.12, whose PPO has since been removed; rows
whose environment or model is not given are left out. All sides of a row train the same model on the
same prompts, and take turns step by step, so that other load on the machine affects all of them.
Ratios are medians over the turns. Writes comparison.json and comparison.md.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tyro

from benchmarks.models import make_folder
from benchmarks.rows import ROWS, Row
from benchmarks.sides import Side, Step
from benchmarks.works import Order, Work
from rlhf_env.files import write_atomically

_HEADER = (
    "| work | side | s a step | tokens/s | this project's speed relative to it | wanted |\n"
    "|---|---|---|---|---|---|\n"
)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is compared, and how often."""

    trl_python: Path | None = None
    """Interpreter of an environment with TRL 1.16."""
    trl_ppo_python: Path | None = None
    """Interpreter of an environment with TRL 1.12."""
    model_dir: Path | None = None
    """Folder of stories260k, for the PPO row."""
    rows: tuple[str, ...] = tuple(row.key for row in ROWS)
    """The rows to time."""
    steps: int = 9
    """Timed steps of each side; one more comes first and is not counted."""
    threads: int = 2
    """Threads of PyTorch, for every side."""
    out: Path = Path("comparison")
    """Path of the results, without the extension."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """The timed steps of one row."""

    row: Row
    """What was timed."""
    steps: dict[str, list[Step]]
    """Steps of each side; this project's under "this project"."""
    versions: dict[str, dict[str, str]]
    """Versions of each side's libraries."""


def main(settings: Settings) -> None:
    """Time all rows, print the table and write it."""
    check(settings)
    pythons = {
        "own": Path(sys.executable),
        "bare": Path(sys.executable),
        "trl_group": settings.trl_python,
        "trl_dpo": settings.trl_python,
        "trl_ppo": settings.trl_ppo_python,
    }
    results = []
    for row in ROWS:
        needed = [pythons[side] for side, _ in row.others]
        is_possible = None not in needed and (row.key != "ppo" or settings.model_dir)
        if row.key in settings.rows and is_possible:
            results.append(time_row(row, settings, pythons))
            print(lines_of(results[-1]), flush=True)
    table = machine(settings) + "\n\n" + _HEADER + "".join(map(lines_of, results))
    write_atomically(settings.out.with_suffix(".md"), table.encode())
    write_atomically(settings.out.with_suffix(".json"), as_json(settings, results).encode())


def check(settings: Settings) -> None:
    """Refuse unknown rows and interpreters that are not there, before anything is timed."""
    known = [row.key for row in ROWS]
    for key in settings.rows:
        if key not in known:
            raise SystemExit(f"rows must be among {known}, got {key!r}")
    for path in (settings.trl_python, settings.trl_ppo_python, settings.model_dir):
        if path is not None and not path.exists():
            raise SystemExit(f"there is no {path}; give an interpreter or a folder that exists")


def time_row(row: Row, settings: Settings, pythons: dict[str, Path | None]) -> Result:
    """Let the sides of a row take turns."""
    contenders = {"this project": ("own", row.own)} | {
        _title(side, work): (side, work) for side, work in row.others
    }
    steps: dict[str, list[Step]] = {title: [] for title in contenders}
    with ExitStack() as stack:
        sides = {}
        for title, (side, work) in contenders.items():
            python = pythons[side]
            assert python is not None
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            make_folder(work, folder, settings.model_dir if row.key == "ppo" else None)
            order = Order(
                work=work, folder=folder, threads=settings.threads, steps=settings.steps + 2
            )
            sides[title] = stack.enter_context(Side(side, python, order))
        for number in range(settings.steps + 1):
            for title, side in sides.items():
                step = side.step()
                if number:
                    steps[title].append(step)
        versions = {title: side.versions for title, side in sides.items()}
    return Result(row=row, steps=steps, versions=versions)


def relative_speed(result: Result, title: str) -> tuple[float, float, float]:
    """Return median and quartiles of this project's tokens per second, relative to a side's."""
    ratios = [
        other.seconds_per_token / own.seconds_per_token
        for own, other in zip(result.steps["this project"], result.steps[title], strict=True)
    ]
    low, median, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return median, low, high


def lines_of(result: Result) -> str:
    """Return a row's lines of the table."""
    lines = []
    for number, (title, steps) in enumerate(result.steps.items()):
        seconds = [step.seconds for step in steps]
        low, median, high = statistics.quantiles(seconds, n=4, method="inclusive")
        speed = statistics.median(step.tokens / step.seconds for step in steps)
        ratio = ""
        if number:
            middle, worst, best = relative_speed(result, title)
            ratio = f"{middle:.2f} ({worst:.2f} – {best:.2f})"
        wanted = f"≥ {result.row.target:.2f}" if number == 1 else ""
        lines.append(
            f"| {result.row.label} | {title} | {median:.3f} ({low:.3f} – {high:.3f}) "
            f"| {speed:,.0f} | {ratio} | {wanted} |\n"
        )
    return "".join(lines)


def machine(settings: Settings) -> str:
    """Return a sentence on where this was measured."""
    return (
        f"{os.cpu_count()} cores ({platform.machine()}), {settings.threads} threads, Python "
        f"{platform.python_version()}; medians over {settings.steps} steps, quartiles in brackets."
    )


def as_json(settings: Settings, results: list[Result]) -> str:
    """Return everything that was measured."""
    rows: list[dict[str, Any]] = [
        {
            **asdict(result.row),
            "versions": result.versions,
            "steps": {title: [asdict(s) for s in steps] for title, steps in result.steps.items()},
            "relative_speed": {
                title: relative_speed(result, title) for title in list(result.steps)[1:]
            },
        }
        for result in results
    ]
    return json.dumps({"machine": machine(settings), "rows": rows}, indent=1)


def _title(side: str, work: Work) -> str:
    if side == "own":
        return f"itself, {work.new_tokens} tokens"
    named = {"trl_ppo": "TRL 1.12", "bare": "bare PyTorch"}
    return named.get(side, "TRL 1.16")


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
