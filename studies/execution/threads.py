"""How many threads a command computes with: as many as its products can use and are free.

Threads of one team wait for each other after every product. On cores that other processes use, all
of them wait for the one whose core is taken, so fewer threads are faster there.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from studies.execution.cores import available_cores

# Weights; threads wait for each other longer than they compute with so small a model.
ONE_THREAD_BELOW = 200_000
# How often a thread that waits looks before it sleeps, less than a millisecond in all: longer than
# most gaps between two products, and too short to take a core from others for nothing.
_SPINS = 10_000
# Seconds for which the cores are watched at least; the kernel counts in hundredths.
_SHORTEST_WATCH = 0.2
# A core that is free for most of the time counts as a whole one.
_MOSTLY_FREE = 0.75
_STAT = Path("/proc/stat")
_is_own_process = False


@dataclass(frozen=True, kw_only=True)
class Moment:
    """What the kernel and this process had counted at some time, in seconds."""

    time: float
    """By the clock."""
    idle: float | None
    """That the cores of this process did nothing; None where the kernel does not tell."""
    own: float
    """That this process computed."""

    @classmethod
    def now(cls) -> Moment:
        """Return the present moment."""
        return cls(time=time.monotonic(), idle=_idle_seconds(), own=time.process_time())


def wait_considerately() -> None:
    """Let threads that wait for others sleep soon, as other processes may need their cores.

    To be called before torch is imported, whose threads read this once.
    """
    os.environ.update(waiting_policy())


def waiting_policy() -> dict[str, str]:
    """Return the environment under which threads wait well; what the user has set stays."""
    if {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
        return {}
    is_busy = hasattr(os, "getloadavg") and os.getloadavg()[0] >= available_cores() / 2
    return {"OMP_WAIT_POLICY": "PASSIVE"} if is_busy else {"GOMP_SPINCOUNT": str(_SPINS)}


def own_process() -> None:
    """Say that this process runs one command and nothing else, and may compute as suits it."""
    global _is_own_process
    _is_own_process = True


def flush_denormals() -> None:
    """Let torch take numbers below 1e-38 for zero, as probabilities of far tokens can be.

    A processor needs a hundred times as long for them. To be called before anything is computed:
    threads take the setting from the one that starts them. Python's own numbers follow it too, so
    nothing happens unless `own_process` was called.
    """
    if _is_own_process:
        import torch

        torch.set_flush_denormal(True)


def set_threads(asked: int | None, weights: int) -> None:
    """Set the threads of torch, and say in one line on standard error how many and why.

    Args:
        asked: by the user; OMP_NUM_THREADS is the same in the environment.
        weights: of the model; products of a small one are not worth sharing.
    """
    import torch

    count, reason = chosen_threads(asked, weights)
    if count is not None:
        torch.set_num_threads(count)
    count = torch.get_num_threads()
    if os.environ.get("RANK", "0") == "0":
        print(f"{count} thread{'s' if count != 1 else ''}: {reason}", file=sys.stderr)


def chosen_threads(asked: int | None, weights: int) -> tuple[int | None, str]:
    """Return how many threads to use, None for torch's own choice, and the reason."""
    if asked is not None:
        return asked, "as --threads says"
    if os.environ.get("OMP_NUM_THREADS"):
        return None, "as OMP_NUM_THREADS says"
    other = "--threads sets another number"
    if weights < ONE_THREAD_BELOW:
        return 1, f"a model of {weights:,} weights gains nothing from more; {other}"
    cores, free = available_cores(), free_cores()
    # Of several processes each takes its share.
    share = free / int(os.environ.get("LOCAL_WORLD_SIZE") or 1)
    return threads_for(share, cores), f"{free:.1f} of {cores} cores are free; {other}"


def threads_for(free: float, cores: int) -> int:
    """Return how many threads to start where so many cores are free."""
    whole = int(free + 1.0 - _MOSTLY_FREE)
    return min(max(1, whole), cores)


def free_cores() -> float:
    """Return how many cores other processes left since this module was loaded."""
    rest = _SHORTEST_WATCH - (time.monotonic() - _START.time)
    if rest > 0:
        time.sleep(rest)
    return free_between(_START, Moment.now(), available_cores())


def free_between(begin: Moment, end: Moment, cores: int) -> float:
    """Return how many cores were idle or used by this process, on average.

    Args:
        begin: an earlier moment.
        end: a later one.
        cores: that this process may use.
    """
    if begin.idle is None or end.idle is None:
        load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
        return max(0.0, cores - load)
    seconds = end.time - begin.time
    return min(cores, (end.idle - begin.idle + end.own - begin.own) / seconds)


def _idle_seconds() -> float | None:
    """Return for how long the cores of this process have done nothing since the start, in sum."""
    if not hasattr(os, "sched_getaffinity"):
        return None
    try:
        lines = _STAT.read_text().splitlines()
    except OSError:
        return None
    mine = {f"cpu{number}" for number in os.sched_getaffinity(0)}
    counts = [line.split() for line in lines if line.split(" ", 1)[0] in mine]
    # The fourth count is idle time, the fifth idle time with a disk at work.
    ticks = sum(int(count[4]) + int(count[5]) for count in counts)
    return ticks / os.sysconf("SC_CLK_TCK") if counts else None


_START = Moment.now()
