"""The pieces of work, each of which leaves one file or folder: what is there is not done again."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from studies.overoptimization.settings import Job, Proxy, Study

if TYPE_CHECKING:
    from rlhf_env import Task
    from studies.overoptimization.best_of_n import Pool

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
    from studies.overoptimization.proxies import train_proxy

    train_proxy(proxy, study.fitting, _task(), proxy_folder(study, proxy))


def make_points(study: Study, job: Job) -> None:
    """Optimise against a judge both ways and keep the points of the curves."""
    import pandas as pd

    from rlhf_env.files import write_atomically
    from studies.overoptimization.best_of_n import best_of_n_rows, ordering_accuracy
    from studies.overoptimization.policies import learning_rows, measured_scales
    from studies.overoptimization.proxies import load_judge
    from studies.overoptimization.tables import as_csv

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
        RuntimeError: if a process dies.
        Exception: whatever a piece raises; the others are given up.
    """
    if study.jobs == 1:
        yield from map(partial(make, study), pieces)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(study.jobs, mp_context=context, initializer=_begin) as pool:
        try:
            for future in as_completed([pool.submit(make, study, piece) for piece in pieces]):
                yield future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():
                process.terminate()
            raise


def _begin() -> None:
    """Prepare a process: one thread, no bars of its own, and no life without its parent."""
    # Both are read when torch and tqdm are imported. Models this small gain nothing from threads.
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ["TQDM_DISABLE"] = "1"
    # Ctrl-C reaches every process of the terminal; the parent ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@cache
def _task() -> Task:
    """Return the task, loaded once per process."""
    from rlhf_env import load_task

    return load_task("reviews")


@cache
def _pool(study: Study, seed: int) -> Pool:
    """Return the pool of a seed, sampled once per process."""
    from studies.overoptimization.best_of_n import sample_pool

    return sample_pool(_task(), study.sampling, seed)
