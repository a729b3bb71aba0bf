"""Running what a folder does not hold yet of a grid, with a bar and a line per run."""

from __future__ import annotations

import shlex
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

from tqdm import tqdm

from scripts.ablation.grid import RunSettings
from scripts.ablation.pool import Outcome, Runner, outcomes
from scripts.ablation.results import Record, read_record, write_curves, write_record, write_results

SHOWN = ("j_ratio", "score", "gold", "kl")


def run_missing(
    runs: list[RunSettings], runner: Runner, folder: Path, *, jobs: int, retry_failed: bool
) -> list[Record]:
    """Run everything that has no record yet, and keep each run as soon as it ends.

    Args:
        runs: the whole grid.
        runner: what runs one run.
        folder: holds the records.
        jobs: processes.
        retry_failed: whether a record of a failure counts as none.

    Returns:
        The records of the whole grid, in its order.
    """
    records = _kept(runs, folder, retry_failed)
    missing = [run for run in runs if run not in records]
    bar = tqdm(total=len(runs), initial=len(records), unit="run", file=sys.stderr, leave=False)
    with bar:
        try:
            with closing(outcomes(missing, runner, jobs)) as ended:
                for outcome in ended:
                    record = as_record(outcome, folder)
                    write_record(folder, record)
                    records[outcome.run] = record
                    write_results(folder, _in_order(runs, records))
                    bar.update()
                    bar.write(_line(record, len(records), len(runs)), file=sys.stderr)
        finally:
            write_results(folder, _in_order(runs, records))
            write_curves(folder, _in_order(runs, records))
    return _in_order(runs, records)


def as_record(outcome: Outcome, folder: Path) -> Record:
    """Return what is kept of a run that ended."""
    result = outcome.result
    return Record(
        run=outcome.run,
        status="failed" if result is None else "ok",
        error=outcome.error,
        seconds=round(outcome.seconds, 3),
        command=command(outcome.run, folder),
        row={} if result is None else result.row,
        curve=[] if result is None else result.curve,
        samples=[] if result is None else result.samples,
        traceback=outcome.traceback,
    )


def command(run: RunSettings, folder: Path) -> str:
    """Return what to type to run one run of a grid alone, into a folder of its own."""
    axes = {name: value for name, value in vars(run).items() if name not in ("budget", "seed")}
    options: dict[str, Any] = {**axes, "seeds": 1, "first_seed": run.seed, **vars(run.budget)}
    options |= {"jobs": 1, "out": folder.with_name(f"{folder.name}-{run.run_id}")}
    given = {name: str(value) for name, value in options.items() if value is not None}
    words = [word for name, value in given.items() for word in (_flag(name), value)]
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


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
