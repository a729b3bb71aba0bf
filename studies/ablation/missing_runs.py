"""Runs the part of a grid that a folder does not hold yet, with a bar and a line per run."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable, Generator
from contextlib import closing
from pathlib import Path
from typing import Any

from tqdm import tqdm

from studies.ablation.events import write_events
from studies.execution.pool import Outcome
from studies.experiment.grid import VARIED, RunSettings
from studies.experiment.result import RunResult
from studies.experiment.task.spec import OwnTask
from studies.results.records import Record, read_record, write_curves, write_record, write_results

# Runs everything and yields what ends, in the order it ends.
Ended = Outcome[RunSettings, RunResult]
Executor = Callable[[list[RunSettings]], Generator[Ended, None, None]]
# Runs one run.
Runner = Callable[[RunSettings], RunResult]

SHOWN = ("j_ratio", "score", "gold", "kl")


def run_missing(
    runs: list[RunSettings],
    executor: Executor,
    folder: Path,
    *,
    threads: int,
    retry_failed: bool,
    tensorboard: bool,
) -> list[Record]:
    """Run everything that has no record yet, and keep each run as soon as it ends.

    Args:
        runs: the whole grid.
        executor: runs what it is given.
        folder: holds the records.
        threads: of each run, which its command repeats.
        retry_failed: whether to ignore records of failed runs.
        tensorboard: whether to write each run's curve for TensorBoard.

    Returns:
        The records of the whole grid, in its order.
    """
    records = _kept(runs, folder, retry_failed)
    missing = [run for run in runs if run not in records]
    table = _Table(folder)
    bar = tqdm(total=len(runs), initial=len(records), unit="run", file=sys.stderr, leave=False)
    with bar:
        try:
            with closing(executor(missing)) as ended:
                for outcome in ended:
                    record = as_record(outcome, folder, threads)
                    if tensorboard:
                        write_events(folder, record)
                    write_record(folder, record)
                    records[outcome.run] = record
                    table.write_sometimes(lambda: _in_order(runs, records))
                    bar.update()
                    bar.write(_line(record, len(records), len(runs)), file=sys.stderr)
        finally:
            write_results(folder, _in_order(runs, records))
            write_curves(folder, _in_order(runs, records))
    return _in_order(runs, records)


class _Table:
    """``results.csv`` while a grid runs: written anew as often as a tenth of the time allows.

    A table of thousands of runs takes longer than a run. The records are what counts.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._next = 0.0

    def write_sometimes(self, records: Callable[[], list[Record]]) -> None:
        """Write the table if it is time to."""
        begun = time.monotonic()
        if begun >= self._next:
            write_results(self._folder, records())
            ended = time.monotonic()
            self._next = ended + 10 * (ended - begun)


def as_record(outcome: Ended, folder: Path, threads: int = 1) -> Record:
    """Return what is kept of a run that ended."""
    result = outcome.result
    return Record(
        run=outcome.run,
        status="failed" if result is None else "ok",
        error=outcome.error,
        seconds=round(outcome.seconds, 3),
        command=command(outcome.run, folder, threads),
        row={} if result is None else result.row,
        curve=[] if result is None else result.curve,
        samples=[] if result is None else result.samples,
        traceback=outcome.traceback,
    )


def command(run: RunSettings, folder: Path, threads: int) -> str:
    """Return the command that repeats one run of a grid alone, in a separate folder.

    It gives the same figures to the last bit, if machine and libraries are the same.
    """
    budget = dict(vars(run.budget))
    of_family = budget.pop("family_options").to_json()
    own, usual = budget.pop("own").to_json(), OwnTask().to_json()
    options: dict[str, Any] = {"agent": run.agent, "task": budget.pop("task") or None}
    options |= {name: getattr(run, name) for name in VARIED}
    options |= {"seeds": 1, "first_seed": run.seed, **budget}
    options |= {name: value for name, value in own.items() if value != usual[name]}
    options |= {**of_family, "jobs": 1, "threads": threads}
    options |= {"out": folder.with_name(f"{folder.name}-{run.run_id}")}
    given = {name: value for name, value in options.items() if value is not None}
    words = [word for name, value in given.items() for word in (_flag(name), *_words(value))]
    return shlex.join(["python", "scripts/ablate.py", *words])


def _kept(runs: list[RunSettings], folder: Path, retry_failed: bool) -> dict[RunSettings, Record]:
    found = ((run, read_record(folder, run)) for run in runs)
    return {
        run: record
        for run, record in found
        if record is not None and not (retry_failed and record.status == "failed")
    }


def _in_order(runs: list[RunSettings], records: dict[RunSettings, Record]) -> list[Record]:
    return [records[run] for run in runs if run in records]


def _line(record: Record, done: int, total: int) -> str:
    head = f"[{done}/{total}] {record.run.run_id}"
    if record.status == "failed":
        return f"{head}  FAILED: {record.error}"
    numbers = [f"{name} {record.row[name]:.3f}" for name in SHOWN if name in record.row]
    return "  ".join([head, *numbers, f"{record.seconds:.1f} s"])


def _words(value: object) -> list[str]:
    return [str(part) for part in value] if isinstance(value, list) else [str(value)]


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
