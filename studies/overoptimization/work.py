"""The pieces of work, each of which leaves one file or folder: what is there is not done again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import cache, partial
from pathlib import Path
from typing import TypeVar

import pandas as pd

from rlhf_env import Task, load_task
from rlhf_env.files import write_atomically
from studies.execution.pool import outcomes
from studies.overoptimization.best_of_n import Pool, best_of_n_rows, ordering_accuracy, sample_pool
from studies.overoptimization.policies import learning_rows, measured_scales
from studies.overoptimization.proxies import load_judge, train_proxy
from studies.overoptimization.settings import Job, Proxy, Study
from studies.results.csv_files import as_csv

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


def make_proxy(study: Study, proxy: Proxy) -> None:
    """Train a proxy and keep it."""
    train_proxy(proxy, study.fitting, _task(), proxy_folder(study, proxy))


def make_points(study: Study, job: Job) -> None:
    """Optimise against a judge both ways and keep the points of the curves."""
    judge, seed = load_judge(job.judge, proxy_folder(study, job.proxy)), job.proxy.seed
    pool = _pool(study, seed)
    scales = measured_scales(judge, _task(), study.fitting, seed)
    rows = best_of_n_rows(judge, pool)
    rows += learning_rows(judge, _task(), study.learning, scales, seed)
    setting = {"judge": job.judge.label, "seed": seed, "accuracy": ordering_accuracy(judge, pool)}
    points = pd.DataFrame([setting | row for row in rows])
    write_atomically(points_file(study, job), as_csv(points))


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


@cache
def _task() -> Task:
    """Return the task, loaded once per process."""
    return load_task("reviews")


@cache
def _pool(study: Study, seed: int) -> Pool:
    """Return the pool of a seed, sampled once per process."""
    return sample_pool(_task(), study.sampling, seed)
