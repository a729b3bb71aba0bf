"""Worker processes that begin with the libraries loaded: forks of a server that only imports.

Loading torch and transformers takes a core several seconds. The server does it once for all
workers, while this process loads what it needs itself. It computes nothing, so there is no team of
threads yet that a fork would lack.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import forkserver, resource_tracker
from multiprocessing.context import ForkServerContext, SpawnContext

from studies.execution.interrupts import held

# Tells `studies.execution.server_start` that it is in the server.
MARK = "RLHF_ENV_FORK_SERVER"
# Elsewhere system libraries that have begun threads of their own do not survive a fork.
_IS_SAFE = sys.platform == "linux"


def start(modules: Sequence[str], threads: int) -> None:
    """Start the server, unless there is one or this system has none; it loads in the background.

    Args:
        modules: what workers need, by name.
        threads: of each worker, which some libraries read when they are loaded.
    """
    # Its start would let signals through that are held back while a process is started.
    resource_tracker.ensure_running()
    if _IS_SAFE:
        multiprocessing.set_forkserver_preload(["studies.execution.server_start", *modules])
        with held(), _environment(threads):
            forkserver.ensure_running()


def worker_context() -> ForkServerContext | SpawnContext:
    """Return what starts workers, once `start` has been called."""
    if _IS_SAFE:
        return multiprocessing.get_context("forkserver")
    return multiprocessing.get_context("spawn")


@contextmanager
def _environment(threads: int) -> Iterator[None]:
    """Let a new process find modules where this one does, and not in the current folder first."""
    before = dict(os.environ)
    os.environ["PYTHONPATH"] = os.pathsep.join(path or os.getcwd() for path in sys.path)
    os.environ |= {"PYTHONSAFEPATH": "1", "OMP_NUM_THREADS": str(threads), MARK: "1"}
    try:
        yield
    finally:
        os.environ.clear()
        os.environ |= before
