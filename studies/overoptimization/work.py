"""The work of a piece: a proxy is trained, or optimized against."""

from __future__ import annotations

from functools import cache

import pandas as pd

from rlhf_env import Task, load_task
from rlhf_env.files import write_atomically
from studies.overoptimization.best_of_n import Pool, best_of_n_rows, ordering_accuracy, sample_pool
from studies.overoptimization.pieces import points_file, proxy_folder
from studies.overoptimization.policies import learning_rows, measured_scales
from studies.overoptimization.proxies import load_judge, train_proxy
from studies.overoptimization.settings import Job, Proxy, Study
from studies.results.csv_files import as_csv


def make_proxy(study: Study, proxy: Proxy) -> None:
    """Train a proxy and keep it."""
    train_proxy(proxy, study.fitting, _task(), proxy_folder(study, proxy))


def make_points(study: Study, job: Job) -> None:
    """Optimize against a judge both ways and keep the points of the curves."""
    judge, seed = load_judge(job.judge, proxy_folder(study, job.proxy)), job.proxy.seed
    pool = _pool(study, seed)
    scales = measured_scales(judge, _task(), study.fitting, seed)
    rows = best_of_n_rows(judge, pool)
    rows += learning_rows(judge, _task(), study.learning, scales, seed)
    setting = {"judge": job.judge.label, "seed": seed, "accuracy": ordering_accuracy(judge, pool)}
    points = pd.DataFrame([setting | row for row in rows])
    write_atomically(points_file(study, job), as_csv(points))


@cache
def _task() -> Task:
    """Return the task, loaded once per process."""
    return load_task("reviews")


@cache
def _pool(study: Study, seed: int) -> Pool:
    """Return the pool of a seed, sampled once per process."""
    return sample_pool(_task(), study.sampling, seed)
