"""How many cores and threads to use."""

from __future__ import annotations

import os
from pathlib import Path

_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def available_cores() -> int:
    """Return how many cores this process may use."""
    cores = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    return max(1, min(cores, _container_cores(cores)))


def _container_cores(cores: int) -> int:
    """Return how many whole cores the limit of a container allows; all where there is none."""
    try:
        quota, period = _QUOTA.read_text().split()
    except (OSError, ValueError):
        return cores
    return int(quota) // int(period) if quota.isdecimal() else cores


def threads_per_job(jobs: int) -> int:
    """Return the threads of each process: the number that the user set, or an equal share."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdecimal() and int(asked) > 0:
        return int(asked)
    return max(1, available_cores() // jobs)
