"""The pieces of work, each of which leaves one file or folder: existing ones are not repeated.

What a piece does is in `studies.overoptimization.work`, which imports torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TypeVar

from studies.execution.pool import outcomes
from studies.overoptimization.settings import Job, Proxy, Study

Piece = TypeVar("Piece", Proxy, Job)


def proxy_folder(study: Study, proxy: Proxy) -> Path:
    """Return where the models of a proxy are kept."""
    return study.out / "proxies" / proxy.name


def points_file(study: Study, job: Job) -> Path:
    """Return where the points of a job are kept."""
    return study.out / "points" / f"{job.name}.csv"


def missing_proxies(study: Study) -> list[Proxy]:
    """Return the proxies still to be trained, ensembles first: they take longest."""
    needed = dict.fromkeys(job.proxy for job in study.all_jobs())
    missing = [proxy for proxy in needed if not proxy_folder(study, proxy).is_dir()]
    return sorted(missing, key=lambda proxy: -proxy.members)


def missing_jobs(study: Study) -> list[Job]:
    """Return the jobs still to be done."""
    return [job for job in study.all_jobs() if not points_file(study, job).is_file()]


def done(
    make: Callable[[Study, Piece], None], study: Study, pieces: Sequence[Piece]
) -> Iterator[None]:
    """Do the pieces in the study's processes and yield at the end of each.

    Raises:
        RuntimeError: if a piece fails in another process, or its process dies; the others are
            given up.
        Exception: whatever a piece raises in this process.
    """
    if study.jobs == 1:
        yield from map(partial(make, study), pieces)
        return
    # Models this small gain nothing from more threads.
    with closing(outcomes(pieces, partial(make, study), study.jobs, threads=1)) as ended:
        for outcome in ended:
            if outcome.error:
                raise RuntimeError(f"{outcome.run.name} failed: {outcome.error}")
            yield
