"""Running many runs on the cores of one machine, tolerating failures of single runs.

Workers stay for the whole grid, and are forks of one process that has imported the libraries where
the system allows it (`studies.execution.fork_server`). Each has its own pipe and shares no lock or
queue with the others, so any of them can be killed at any time.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import pickle
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as wait_for
from multiprocessing.process import BaseProcess
from typing import Any, Generic, TypeVar

from tqdm import tqdm

from studies.execution.cores import threads_per_job
from studies.execution.fork_server import start, worker_context
from studies.execution.interrupts import held

Job = TypeVar("Job")
Result = TypeVar("Result")
Runner = Callable[[Job], Result]
MAX_ERROR = 300
JOIN_SECONDS = 0.5
WORKER_DIED = "the worker process died (out of memory, or killed); see the system's log"


@dataclass(frozen=True, kw_only=True)
class Outcome(Generic[Job, Result]):
    """How one run ended: with a result, or with an error."""

    run: Job
    """What was run."""
    result: Result | None
    """None if it failed."""
    seconds: float
    """Wall-clock time."""
    error: str = ""
    """One line."""
    traceback: str = ""
    """Where it failed."""


@dataclass(frozen=True, kw_only=True, eq=False)
class WorkerChannel:
    """A process that runs one run after another, and the way to talk to it."""

    process: BaseProcess
    """Killed when no longer needed; this is safe, since it writes files atomically."""
    pipe: Connection
    """Runs go in, outcomes come out; at its end when the process is dead."""

    @property
    def handles(self) -> list[Connection | int]:
        """What `multiprocessing.connection.wait` sees an outcome or the worker's death by."""
        return [self.pipe, self.process.sentinel]

    def outcome(self) -> Outcome[Any, Any] | None:
        """Return the outcome that has come; None if the worker died."""
        try:
            return self.pipe.recv() if self.pipe.poll() else None
        except (EOFError, OSError):
            return None


def outcomes(
    runs: Sequence[Job], runner: Runner[Job, Result], jobs: int, threads: int | None = None
) -> Generator[Outcome[Job, Result], None, None]:
    """Run everything in ``jobs`` processes and yield what ends, in the order it ends.

    A run that raises is an outcome with an error. A run whose worker dies is tried once more at
    the end, alone, and given up if its worker dies again.

    Args:
        runs: what to run, picklable.
        runner: what runs one run, picklable by reference.
        jobs: processes.
        threads: of each process; the cores are divided when None.
    """
    threads = threads or threads_per_job(jobs)
    start([runner.__module__], threads)
    crashed = yield from _drain(runs, runner, jobs, threads)
    for run in crashed:
        for culprit in (yield from _drain([run], runner, 1, threads)):
            yield Outcome(run=culprit, result=None, seconds=0.0, error=WORKER_DIED)


def attempt(runner: Runner[Job, Result], run: Job) -> Outcome[Job, Result]:
    """Run one run and return how it ended; nothing that the run raises gets through."""
    start = time.perf_counter()
    try:
        result = runner(run)
    except BaseException as error:
        seconds = time.perf_counter() - start
        where = traceback.format_exc()
        return Outcome(
            run=run, result=None, seconds=seconds, error=one_line(error), traceback=where
        )
    return Outcome(run=run, result=result, seconds=time.perf_counter() - start)


def one_line(error: BaseException) -> str:
    """Return the type and message of an error without line breaks and control characters."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    printable = "".join(c if c.isprintable() else "?" for c in text)
    return printable if len(printable) <= MAX_ERROR else printable[: MAX_ERROR - 1] + "…"


def worker_main(pipe: Connection, threads: int) -> None:
    """Run what comes through the pipe until it ends; the body of a worker process.

    Args:
        pipe: the environment comes in first, since that of a fork is its server's; then the runner,
            whose module may import torch, which reads its number of threads then; then runs.
            Outcomes go out.
        threads: of this process.
    """
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # A bar's usual lock is a semaphore of the system, which stays when a worker is killed.
    tqdm.set_lock(threading.RLock())
    gc.freeze()
    gc.enable()
    with suppress(EOFError, BrokenPipeError):
        os.environ.clear()
        os.environ |= {**pipe.recv(), "OMP_NUM_THREADS": str(threads)}
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(threads)
        runner = pipe.recv()
        while True:
            run = pipe.recv()
            outcome = attempt(runner, run)
            try:
                pipe.send(outcome)
            except (AttributeError, TypeError, ValueError, pickle.PicklingError) as error:
                pipe.send(Outcome(run=run, result=None, seconds=0.0, error=one_line(error)))


def spawn_worker(runner: Runner[Any, Any], threads: int) -> WorkerChannel:
    """Start a worker process; to be called with signals held, which it then never gets."""
    context = worker_context()
    ours, theirs = context.Pipe()
    process = context.Process(target=worker_main, args=(theirs, threads))
    process.start()
    theirs.close()
    with suppress(OSError):  # It has died; its pipe says so when it gets a run.
        ours.send(dict(os.environ))
        ours.send(runner)
    return WorkerChannel(process=process, pipe=ours)


def _drain(
    runs: Sequence[Job], runner: Runner[Job, Result], jobs: int, threads: int
) -> Generator[Outcome[Job, Result], None, list[Job]]:
    """Run everything; return the runs whose workers crashed."""
    waiting, crashed = deque(runs), []
    workers: list[WorkerChannel] = []
    idle: list[WorkerChannel] = []
    busy: dict[WorkerChannel, Job] = {}
    try:
        while waiting or busy:
            while waiting and len(busy) < jobs:
                if not idle:
                    with held():
                        workers.append(spawn_worker(runner, threads))
                    idle.append(workers[-1])
                worker = idle.pop()
                busy[worker] = waiting.popleft()
                with suppress(OSError):  # It has died; its pipe says so below.
                    worker.pipe.send(busy[worker])
            wait_for([handle for worker in busy for handle in worker.handles])
            for worker in [worker for worker in busy if wait_for(worker.handles, timeout=0)]:
                run, outcome = busy.pop(worker), worker.outcome()
                if outcome is None:
                    crashed.append(run)
                else:
                    idle.append(worker)
                    yield outcome
        return crashed
    finally:
        for worker in workers:
            worker.process.kill()
        for worker in workers:
            worker.process.join(JOIN_SECONDS)


def _end_with_parent() -> None:
    # A worker whose parent was killed would wait for its next run forever.
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait_for([parent.sentinel])
        os._exit(1)
