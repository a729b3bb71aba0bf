"""Running many runs on an existing Ray cluster, instead of on the cores of one machine.

Ray is an optional dependency; nothing else here needs it. Every machine of the cluster must find
this project, and the files that the runs read, where this machine has them.
"""

from __future__ import annotations

import importlib
from collections import deque
from collections.abc import Generator, Sequence
from typing import Any

from studies.execution.pool import WORKER_DIED, Job, Outcome, Result, Runner, attempt, one_line


def connect() -> Any:
    """Return the ray module, connected to the cluster that is running.

    Raises:
        ValueError: if ray is not installed, or there is no cluster.
    """
    try:
        ray = importlib.import_module("ray")
    except ImportError as error:
        raise ValueError(
            f"--ray needs the package ray, got: {error}; run: pip install 'rlhf-env[ray]', or "
            "leave --ray out"
        ) from error
    try:
        ray.init(address="auto", ignore_reinit_error=True, log_to_driver=False)
    except (ConnectionError, RuntimeError) as error:
        raise ValueError(
            f"--ray needs a running Ray cluster, got: {one_line(error)}; start one with "
            "ray start --head, set RAY_ADDRESS, or leave --ray out: the same command without it "
            "goes on on this machine, and what has finished is kept"
        ) from error
    return ray


def cluster_outcomes(
    ray: Any,
    runs: Sequence[Job],
    runner: Runner[Job, Result],
    jobs: int | None,
    threads: int,
) -> Generator[Outcome[Job, Result], None, None]:
    """Run everything on the cluster and yield what ends, in the order it ends.

    A run that raises, or whose worker dies, is an outcome with an error.

    Args:
        ray: the connected module.
        runs: what to run.
        runner: what runs one run.
        jobs: runs at the same time; as many as the cluster has room for when None.
        threads: of each run, which are the cores that the cluster reserves for it.
    """
    task = ray.remote(attempt).options(
        num_cpus=threads,
        runtime_env={"env_vars": {"OMP_NUM_THREADS": str(threads)}},
    )
    waiting, running = deque(runs), {}
    try:
        while waiting or running:
            while waiting and (jobs is None or len(running) < jobs):
                run = waiting.popleft()
                running[task.remote(runner, run)] = run
            ended, _ = ray.wait(list(running), num_returns=1)
            for reference in ended:
                run = running.pop(reference)
                yield _outcome(ray, reference, run)
    finally:
        for reference in running:
            ray.cancel(reference, force=True)


def _outcome(ray: Any, reference: Any, run: Job) -> Outcome[Job, Any]:
    try:
        return ray.get(reference)
    except ray.exceptions.RayError as error:
        reason = f"{WORKER_DIED}: {type(error).__name__}"
        return Outcome(run=run, result=None, seconds=0.0, error=reason)
