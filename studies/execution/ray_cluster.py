"""An existing Ray cluster: many runs on it, instead of on the cores of one machine.

Ray is an optional dependency; nothing else here needs it. Every machine of the cluster must find
this project, and the files that the runs read, where this machine has them.
"""

from __future__ import annotations

import importlib
import socket
from collections import deque
from collections.abc import Generator, Sequence
from typing import Any

from studies.execution.pool import WORKER_DIED, Job, Outcome, Result, Runner, attempt, one_line

# A run whose worker dies is tried once more, as on this machine.
RETRIES = 1
# Between two looks at whether the cluster is still there, and how long each of them may take.
LOOK_SECONDS = 2.0
LOST = (
    "the Ray cluster no longer answers; what has finished is kept: start it again, or leave the "
    "option out, and the same command goes on"
)


class ClusterLostError(ConnectionError):
    """The cluster no longer answers; Ray itself would wait for it, and then end this process."""


def connect(option: str = "--ray") -> Any:
    """Return the ray module, connected to the cluster that is running.

    Args:
        option: of the command line, that asked for it.

    Raises:
        ValueError: if ray is not installed, or there is no cluster.
    """
    try:
        ray = importlib.import_module("ray")
    except ImportError as error:
        raise ValueError(
            f"{option} needs the package ray, got: {error}; run: pip install 'rlhf-env[ray]', or "
            f"leave {option} out"
        ) from error
    try:
        ray.init(address="auto", ignore_reinit_error=True, log_to_driver=False)
    except (ConnectionError, RuntimeError) as error:
        raise ValueError(
            f"{option} needs a running Ray cluster, got: {one_line(error)}; start one with "
            f"ray start --head, set RAY_ADDRESS, or leave {option} out: the same command without "
            "it goes on on this machine, and what has finished is kept"
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

    A run that raises is an outcome with an error. One whose worker dies is tried once more; if
    that one dies too, it is an outcome with an error.

    Args:
        ray: the connected module.
        runs: what to run.
        runner: what runs one run.
        jobs: runs at the same time; as many as the cluster has room for when None.
        threads: of each run, which are the cores that the cluster reserves for it.

    Raises:
        ClusterLostError: if the cluster goes away; what was yielded is all that is known.
    """
    task = ray.remote(attempt).options(
        num_cpus=threads,
        max_retries=RETRIES,
        runtime_env={"env_vars": {"OMP_NUM_THREADS": str(threads)}},
    )
    waiting, running = deque(runs), {}
    try:
        while waiting or running:
            while waiting and (jobs is None or len(running) < jobs):
                run = waiting.popleft()
                running[task.remote(runner, run)] = run
            for reference in ended_of(ray, list(running)):
                run = running.pop(reference)
                yield _outcome(ray, reference, run)
    finally:
        for reference in running if is_there(ray) else ():
            ray.cancel(reference, force=True)


def ended_of(ray: Any, references: Sequence[Any]) -> list[Any]:
    """Return those of some tasks that have ended, at least one of them.

    Raises:
        ClusterLostError: if the cluster goes away.
    """
    while True:
        ended, _ = ray.wait(references, num_returns=1, timeout=LOOK_SECONDS)
        if ended:
            return ended
        if not is_there(ray):
            raise ClusterLostError(LOST)


def is_there(ray: Any) -> bool:
    """Return whether the head of the cluster can be reached."""
    host, _, port = ray.get_runtime_context().gcs_address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=LOOK_SECONDS):
            return True
    except OSError:
        return False


def _outcome(ray: Any, reference: Any, run: Job) -> Outcome[Job, Any]:
    try:
        return ray.get(reference)
    except ray.exceptions.RayError as error:
        if not is_there(ray):
            raise ClusterLostError(LOST) from error
        reason = f"{WORKER_DIED}: {type(error).__name__}"
        return Outcome(run=run, result=None, seconds=0.0, error=reason)
