"""The processes that a launcher started: their number, this one's rank, and joining them.

``accelerate launch`` and ``torchrun`` say both in the environment. Without a launcher there is one
process, and nothing of accelerate is imported. Nor is torch: what only asks has not to wait for it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from datetime import timedelta
from functools import cache
from typing import Any

from rlhf_env.extras import importing

# A process that died closes its connections, which the others notice at once. This is for machines
# that vanish, and must be longer than one process may work while the others wait.
PATIENCE = timedelta(hours=2)
_STORE_PATIENCE = timedelta(seconds=5)
_is_alone: ContextVar[bool] = ContextVar("is_alone", default=False)


def count() -> int:
    """Return the number of processes that work together; 1 without a launcher."""
    if _is_alone.get():
        return 1
    if (joined := _joined()) is not None:
        return joined.get_world_size()
    launched = os.environ.get("WORLD_SIZE", "")
    return int(launched) if launched.isdecimal() and int(launched) > 0 else 1


def rank() -> int:
    """Return the number of this process, from 0."""
    if (joined := _joined()) is not None:
        return joined.get_rank()
    number = os.environ.get("RANK", "")
    return int(number) if number.isdecimal() else 0


def is_first() -> bool:
    """Return whether this is the process that writes and reports."""
    return rank() == 0


@cache
def is_spokesman() -> bool:
    """Return whether this process says why all of them end.

    Of those that have met, that is the one that asks first, since any of them may have died; else
    the first one.
    """
    if (joined := _joined()) is None:
        return is_first()
    try:
        store = joined.distributed_c10d._get_default_store()
        store.set_timeout(_STORE_PATIENCE)
        return store.add("rlhf-env/spokesman", 1) == 1
    except RuntimeError:
        # The store was kept by a process that died.
        return True


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
        ValueError: if accelerate is not installed, or the launcher did not say where to meet,
            started only one process of several, or asks for divided weights (FSDP).
    """
    # accelerate sets these two for several processes, but without a GPU it starts only one.
    if {
        "ACCELERATE_USE_CPU",
        "MASTER_ADDR",
    } <= os.environ.keys() and "WORLD_SIZE" not in os.environ:
        raise ValueError(
            "accelerate launch was asked for several processes, got one, as it does without a GPU; "
            "add --multi_gpu, which is for CPUs too, or use torchrun --nproc_per_node"
        )
    if count() == 1:
        return
    if os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true":
        raise ValueError(
            "each process must hold all weights, got FSDP, which divides them; leave out "
            "--use_fsdp, and use lora_rank or gradient_checkpointing where memory is short"
        )
    _join(device == "cpu")


@cache
def _join(is_on_cpu: bool) -> None:
    if _lacking():
        raise ValueError(
            f"WORLD_SIZE is {count()}, so {_lacking()[0]} must be set too, got none; start the "
            "processes with accelerate launch or torchrun, or unset WORLD_SIZE"
        )
    with importing("distributed"):
        from accelerate import PartialState
    import torch

    PartialState(cpu=is_on_cpu or not torch.cuda.is_available(), timeout=PATIENCE)


def leave() -> None:
    """Part from the others at the end of all work."""
    if (joined := _joined()) is not None:
        with suppress(RuntimeError):
            joined.destroy_process_group()


def _joined() -> Any:
    """Return torch's module of processes that have met; None if they have not."""
    torch = sys.modules.get("torch")
    found = getattr(torch, "distributed", None)
    is_ready = found is not None and found.is_available() and found.is_initialized()
    return found if is_ready else None


def _lacking() -> list[str]:
    return [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
