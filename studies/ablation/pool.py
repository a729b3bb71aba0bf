"""Running many runs on the cores of one machine, whatever becomes of the single one.

Workers stay for the whole grid, so the libraries are imported once per worker. Each has a pipe of
its own and shares no lock or queue with the others, so any of them can be killed at any time.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as wait_for
from multiprocessing.context import SpawnProcess

from studies.ablation.cores import threads_per_job
from studies.ablation.grid import RunSettings
from studies.ablation.interrupts import held
from studies.ablation.runs import RunResult

Runner = Callable[[RunSettings], RunResult]
MAX_ERROR = 300
JOIN_SECONDS = 0.5
WORKER_DIED = "the worker process died (out of memory, or killed); see the system's log"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How one run ended: with a result, or with an error of one line and its traceback."""

    run: RunSettings
    result: RunResult | None
    seconds: float
    error: str = ""
    traceback: str = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class Worker:
    """A process that runs one run after another.

    Attributes:
        process: killed when it is no longer needed; it writes no files.
        pipe: runs go in, outcomes come out; at its end when the process is dead.
    """

    process: SpawnProcess
    pipe: Connection

    @property
    def handles(self) -> list[Connection | int]:
        """What `multiprocessing.connection.wait` sees an outcome or the worker's death by."""
        return [self.pipe, self.process.sentinel]

    def outcome(self) -> Outcome | None:
        """Return the outcome that has come; None if the worker died."""
        try:
            return self.pipe.recv() if self.pipe.poll() else None
        except (EOFError, OSError):
            return None


def outcomes(
    runs: list[RunSettings], runner: Runner, jobs: int, threads: int | None = None
) -> Generator[Outcome, None, None]:
    """Run everything in ``jobs`` processes and yield what ends, in the order it ends.

    A run that raises is an outcome with an error. A run whose worker dies is tried once more at
    the end, alone, and given up if its worker dies again.

    Args:
        runs: what to run.
        runner: what runs one run.
        jobs: processes.
        threads: of each process; the cores are divided when None.
    """
    threads = threads or threads_per_job(jobs)
    # Its start would let signals through that are held back while a worker is started.
    resource_tracker.ensure_running()
    lost = yield from _drain(runs, runner, jobs, threads)
    for run in lost:
        for culprit in (yield from _drain([run], runner, 1, threads)):
            yield Outcome(run=culprit, result=None, seconds=0.0, error=WORKER_DIED)


def attempt(runner: Runner, run: RunSettings) -> Outcome:
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
    """Return the kind and the text of an error without line breaks and control characters."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    printable = "".join(c if c.isprintable() else "?" for c in text)
    return printable if len(printable) <= MAX_ERROR else printable[: MAX_ERROR - 1] + "…"


def serve(pipe: Connection, runner: Runner, threads: int) -> None:
    """Run what comes through the pipe until it ends; the body of a worker process."""
    from tqdm import tqdm

    threading.Thread(target=_end_with_parent, daemon=True).start()
    # A bar's usual lock is a semaphore of the system, which nobody frees when a worker is killed.
    tqdm.set_lock(threading.RLock())
    # Read by torch when a run imports it.
    os.environ["OMP_NUM_THREADS"] = str(threads)
    with suppress(EOFError, BrokenPipeError):
        while True:
            run = pipe.recv()
            outcome = attempt(runner, run)
            try:
                pipe.send(outcome)
            except (AttributeError, TypeError, ValueError, pickle.PicklingError) as error:
                pipe.send(Outcome(run=run, result=None, seconds=0.0, error=one_line(error)))


def _drain(
    runs: list[RunSettings], runner: Runner, jobs: int, threads: int
) -> Generator[Outcome, None, list[RunSettings]]:
    """Run everything; return the runs whose workers died."""
    waiting, lost = deque(runs), []
    staff: list[Worker] = []
    idle: list[Worker] = []
    busy: dict[Worker, RunSettings] = {}
    try:
        while waiting or busy:
            while waiting and len(busy) < jobs:
                if not idle:
                    with held():
                        staff.append(hire(runner, threads))
                    idle.append(staff[-1])
                worker = idle.pop()
                busy[worker] = waiting.popleft()
                with suppress(OSError):  # It has died; its pipe says so below.
                    worker.pipe.send(busy[worker])
            wait_for([handle for worker in busy for handle in worker.handles])
            for worker in [worker for worker in busy if wait_for(worker.handles, timeout=0)]:
                run, outcome = busy.pop(worker), worker.outcome()
                if outcome is None:
                    lost.append(run)
                else:
                    idle.append(worker)
                    yield outcome
        return lost
    finally:
        for worker in staff:
            worker.process.kill()
        for worker in staff:
            worker.process.join(JOIN_SECONDS)


def hire(runner: Runner, threads: int) -> Worker:
    """Start a worker process; to be called with signals held, which it then never gets."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs, runner, threads))
    process.start()
    theirs.close()
    return Worker(process=process, pipe=ours)


def _end_with_parent() -> None:
    # A worker whose parent was killed would wait for its next run for ever.
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait_for([parent.sentinel])
        os._exit(1)
