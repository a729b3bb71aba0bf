"""Running many runs on the cores of one machine, whatever becomes of the single one.

Workers stay for the whole grid, so the libraries are imported once per worker.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import wait as wait_for

from scripts.ablation.cores import available_cores
from scripts.ablation.grid import RunSettings
from scripts.ablation.runs import RunResult

Runner = Callable[[RunSettings], RunResult]
MAX_ERROR = 300


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How one run ended: with a result, or with an error of one line and its traceback."""

    run: RunSettings
    result: RunResult | None
    seconds: float
    error: str = ""
    traceback: str = ""


def outcomes(runs: list[RunSettings], runner: Runner, jobs: int) -> Iterator[Outcome]:
    """Run everything in ``jobs`` processes and yield what ends, in the order it ends.

    A run that raises is an outcome with an error. If a worker dies, the runs that were in the
    air are tried again one at a time, and the one that kills its worker again is given up.
    """
    waiting = deque(runs)
    while waiting:
        lost = yield from _drain(waiting, runner, jobs)
        for run in lost:
            for culprit in (yield from _drain(deque([run]), runner, 1)):
                error = "the worker process died (out of memory, or killed); see the system's log"
                yield Outcome(run=culprit, result=None, seconds=0.0, error=error)


def attempt(runner: Runner, run: RunSettings) -> Outcome:
    """Run one run and return how it ended; nothing that the run raises gets through."""
    start = time.perf_counter()
    try:
        result = runner(run)
    except (Exception, SystemExit) as error:
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


def _drain(
    waiting: deque[RunSettings], runner: Runner, jobs: int
) -> Generator[Outcome, None, list[RunSettings]]:
    """Run what is waiting; return early, with the runs in the air, if a worker dies."""
    pool = ProcessPoolExecutor(
        min(jobs, len(waiting)),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_prepare_worker,
        initargs=(max(1, available_cores() // jobs),),
    )
    flying: dict[Future[Outcome], RunSettings] = {}
    try:
        while waiting or flying:
            while waiting and len(flying) < jobs:
                with _interrupts_held():
                    flying[pool.submit(attempt, runner, waiting[0])] = waiting[0]
                waiting.popleft()
            done, _ = wait(flying, return_when=FIRST_COMPLETED)
            for future in done:
                outcome = future.result()
                del flying[future]
                yield outcome
        return []
    except BrokenProcessPool:
        return list(flying.values())
    except BaseException:
        for worker in multiprocessing.active_children():
            worker.terminate()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Hold Ctrl-C back for a moment; a process started meanwhile never gets it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _prepare_worker(threads: int) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # Read by torch when a run imports it; a person's own choice stands.
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))


def _end_with_parent() -> None:
    # A worker whose parent was killed would wait for its next run for ever.
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait_for([parent.sentinel])
        os._exit(1)
