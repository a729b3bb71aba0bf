"""Runs what is missing of a claim, keeps every finished row, and writes pages from the rows."""

from __future__ import annotations

import sys
import time
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from rlhf_env.files import write_atomically
from studies.execution.pool import Outcome, outcomes
from studies.zoo.claim import Claim, Point, Row
from studies.zoo.figure import picture
from studies.zoo.findings import Finding, finding
from studies.zoo.index import index
from studies.zoo.page import page
from studies.zoo.registry import Entry, entries
from studies.zoo.table import add_cost, points_of, read_costs, read_rows, write_rows

PICTURE = "zoo.png"


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Some runs of a claim, which a worker loads by itself."""

    entry: Entry
    points: tuple[Point, ...]


def run_batch(batch: Batch) -> list[Row]:
    """Run a batch; the rows are those of its points."""
    return batch.entry.load().experiment.run(batch.points)


def run_claim(
    entry: Entry, out: Path, *, again: bool = False, jobs: int = 1, progress: bool = True
) -> Finding:
    """Run what is missing of a claim; the table is written after every batch.

    Args:
        entry: which one.
        out: the folder of its table.
        again: run also what the table has.
        jobs: processes.
        progress: whether to draw a bar.

    Raises:
        RuntimeError: if a run fails.
        ValueError: if the table cannot be read.
    """
    claim, path = entry.load(), out / f"{entry.name}.csv"
    rows = {} if again else read_rows(path, claim)
    points = points_of(claim)
    missing = [point for point in points if point not in rows]
    is_new, begun = not rows, time.perf_counter()
    batches = [Batch(entry=entry, points=part) for part in claim.experiment.batches(missing)]
    bar = tqdm(
        total=len(points), initial=len(rows), desc=entry.name, unit="run", disable=not progress
    )
    with bar, closing(_ended(batches, jobs)) as ended:
        for outcome in ended:
            if outcome.result is None:
                raise RuntimeError(f"{entry.name} failed: {outcome.error}\n{outcome.traceback}")
            rows |= dict(zip(outcome.run.points, outcome.result, strict=True))
            write_rows(path, claim, rows)
            bar.update(len(outcome.result))
    if missing:
        add_cost(out, entry.name, time.perf_counter() - begun, is_new=is_new)
    # The digits that were written are what is reported.
    found = read_finding(entry, claim, out)
    assert found is not None, entry.name
    return found


def _ended(batches: Sequence[Batch], jobs: int) -> Generator[Outcome[Batch, list[Row]], None, None]:
    """Run batches here, or in several processes."""
    if jobs > 1:
        yield from outcomes(batches, run_batch, jobs)
        return
    for batch in batches:
        # Not by `attempt`: an interrupt is for the command.
        begun = time.perf_counter()
        result = run_batch(batch)
        yield Outcome(run=batch, result=result, seconds=time.perf_counter() - begun)


def read_finding(entry: Entry, claim: Claim, out: Path) -> Finding | None:
    """Return what a folder's table of a claim says; None where rows are missing."""
    rows = read_rows(out / f"{entry.name}.csv", claim)
    return finding(entry, claim, rows, read_costs(out).get(entry.name))


def read_findings(out: Path, more: Sequence[Entry] = ()) -> list[Finding]:
    """Return the findings of all claims that a folder has all rows of.

    Args:
        out: the folder of the tables.
        more: claims besides those of the package.
    """
    own = {entry.name: entry for entry in (*entries(), *more)}
    found = (read_finding(entry, entry.load(), out) for entry in own.values())
    return [one for one in found if one is not None]


def write_report(out: Path, findings: Sequence[Finding]) -> list[Path]:
    """Write a page per claim, the picture, and the index beside the folder; return the last two."""
    overview = out.parent / f"{out.name}.md"
    for one in findings:
        content = page(one, f"../{overview.name}")
        write_atomically(out / f"{one.entry.name}.md", content.encode())
    write_atomically(out / PICTURE, picture(findings))
    write_atomically(overview, index(findings, out.name).encode())
    return [overview, out / PICTURE]


def say(found: Finding) -> None:
    """Print one line of a claim's finding."""
    one = found.deciding
    print(f"{found.verdict:<9}  {found.entry.name}: {one.contrast.says}: {one.estimate}")
    sys.stdout.flush()
