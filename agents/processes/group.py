"""The processes that a launcher started: their number, this one's rank, and joining them.

``accelerate launch`` and ``torchrun`` say both in the environment. Without a launcher there is one
process, and nothing of accelerate is imported.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from datetime import timedelta
from functools import cache

import torch

from rlhf_env.extras import importing

# A process that died closes its connections, which the others notice at once. This is for machines
# that vanish, and must be longer than one process may work while the others wait.
PATIENCE = timedelta(hours=2)
_is_alone: ContextVar[bool] = ContextVar("is_alone", default=False)


def count() -> int:
    """Return the number of processes that work together; 1 without a launcher."""
    if _is_alone.get():
        return 1
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_world_size()
    launched = os.environ.get("WORLD_SIZE", "")
    return int(launched) if launched.isdecimal() and int(launched) > 0 else 1


def rank() -> int:
    """Return the number of this process, from 0."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank()
    number = os.environ.get("RANK", "")
    return int(number) if number.isdecimal() else 0


def is_first() -> bool:
    """Return whether this is the process that writes and reports."""
    return rank() == 0


@contextmanager
def alone() -> Iterator[None]:
    """Let this process work as if there were no others, while they wait for what comes of it."""
    token = _is_alone.set(True)
    try:
        yield
    finally:
        _is_alone.reset(token)


def join(device: str = "auto") -> None:
    """Join the other processes, if there are any; the current GPU is then this process's own.

    Args:
        device: "cpu" where there are GPUs that are not to be used.

    Raises:
        ValueError: if accelerate is not installed, or the launcher did not say where to meet.
    """
    if count() > 1:
        _join(device)


@cache
def _join(device: str) -> None:
    with importing("distributed"):
        from accelerate import PartialState
    _check_meeting_point()
    on_cpu = device == "cpu" or not torch.cuda.is_available()
    PartialState(cpu=on_cpu, timeout=PATIENCE)


def leave() -> None:
    """Part from the others at the end of all work, so that none of them waits."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        with suppress(RuntimeError):
            torch.distributed.destroy_process_group()


def _check_meeting_point() -> None:
    lacking = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
    if lacking:
        raise ValueError(
            f"WORLD_SIZE is {count()}, so {lacking[0]} must be set too, got none; start the "
            "processes with accelerate launch or torchrun, or unset WORLD_SIZE"
        )
