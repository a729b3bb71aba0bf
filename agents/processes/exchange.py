"""What processes tell each other: results, failures, sums of gradients.

Every function here must be called by all of them, in the same order. With one process they cost
nothing: the work is done, and its result returned. Before anything else is exchanged the processes
tell each other whether they failed, so that an error of one ends all, wherever the others are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor

from agents.processes import group

Result = TypeVar("Result")
Config = TypeVar("Config", bound=Any)
# Elements that are added up at a time: gradients are copied into one tensor for it.
_AT_ONCE = 1 << 24
_TOLD = "was_told_to_all_processes"


class ProcessLostError(ConnectionError):
    """Another process no longer answers, so this one cannot go on."""


@dataclass(frozen=True)
class _Failure:
    """An error of one process, as the others hear of it."""

    kind: str
    sentence: str

    def error(self, rank: int) -> Exception:
        """Return the error to be raised by the others."""
        if self.kind == "ValueError":
            return ValueError(self.sentence)
        if self.kind == "OSError":
            return OSError(self.sentence)
        return RuntimeError(f"process {rank} failed: {self.kind}: {self.sentence}")


def together(work: Callable[[], Result]) -> Result:
    """Do some work in every process and return this one's result; it fails in all or in none.

    Raises:
        Exception: what ``work`` raised here; else, if it failed in another process, that process's
            ValueError or OSError, or a RuntimeError that names it.
    """
    return work() if group.count() == 1 else _attempted(work, shares=False)[0]


def gathered(work: Callable[[], Result]) -> list[Result]:
    """Do some work in every process and return all results, by rank; see `together`."""
    return [work()] if group.count() == 1 else _attempted(work, shares=True)[1]


def on_first(work: Callable[[], Result]) -> Result:
    """Do some work in the first process alone and return its result in all; see `together`."""
    if group.count() == 1:
        return work()

    def own() -> Result | None:
        with group.alone():
            return work() if group.is_first() else None

    return _attempted(own, shares=group.is_first())[1][0]


def added(work: Callable[[], Tensor]) -> Tensor:
    """Do some work in every process and return the sum of the tensors that it gave."""
    found = together(work)
    if group.count() > 1:
        _answered(partial(torch.distributed.all_reduce, found))
    return found


def check_same(what: str, value: Any, fix: str) -> None:
    """Refuse to go on where processes that must agree do not.

    Args:
        what: is compared.
        value: of this process; it can be compared by ``==``.
        fix: what the user should look at.

    Raises:
        ValueError: naming the first process that differs.
    """
    values = gathered(lambda: value)
    for rank, other in enumerate(values):
        if other != values[0]:
            raise ValueError(
                f"{what} of process {rank} must be that of process 0, got others; {fix}"
            )


def agreed_seed(config: Config) -> Config:
    """Return settings with the seed of the first process, which may have drawn it."""
    if group.count() == 1:
        return config
    return replace(config, seed=on_first(lambda: config.seed))


def add_up_gradients(parameters: Sequence[Tensor], has_gradient: Sequence[bool]) -> None:
    """Replace gradients by their sums over all processes.

    Args:
        parameters: in the same order everywhere.
        has_gradient: which of them have one in some process; the others keep None.
    """
    wanted = [p for p, has_one in zip(parameters, has_gradient, strict=True) if has_one]
    for p in wanted:
        if p.grad is None:
            p.grad = torch.zeros_like(p)
    for part in _buckets([p.grad for p in wanted if p.grad is not None]):
        flat = torch.cat([gradient.flatten() for gradient in part])
        _answered(partial(torch.distributed.all_reduce, flat))
        sums = flat.split([gradient.numel() for gradient in part])
        for gradient, total in zip(part, sums, strict=True):
            gradient.copy_(total.view_as(gradient))


@torch.no_grad()
def take_over(tensors: Iterable[Tensor]) -> None:
    """Replace tensors by those of the first process."""
    if group.count() == 1:
        return
    together(lambda: None)
    for tensor in tensors:
        # A view of the data: broadcasting into a weight itself would be seen as a step.
        _answered(partial(torch.distributed.broadcast, tensor.data, src=0))


def _attempted(work: Callable[[], Result], *, shares: bool) -> tuple[Result, list[Any]]:
    """Return what the work gave here, and what was shared, by rank."""
    group.join()
    own: Any = None
    failed: Exception | None = None
    try:
        own = work()
    except Exception as error:
        if _is_known_to_all(error):
            raise
        failed = error
    told = [own if shares else None] if failed is None else [_described(failed)]
    answers = _answered(lambda: _gather(told))
    if failed is None:
        failed = next((a.error(r) for r, a in enumerate(answers) if isinstance(a, _Failure)), None)
    if failed is not None:
        setattr(failed, _TOLD, True)
        raise failed
    return own, answers


def _is_known_to_all(error: BaseException | None) -> bool:
    """Return whether an error, or what caused it, ended the others already."""
    while error is not None:
        if isinstance(error, ProcessLostError) or getattr(error, _TOLD, False):
            return True
        error = error.__cause__
    return False


def _gather(told: list[Any]) -> list[Any]:
    from accelerate.utils import gather_object

    return gather_object(told)


def _described(error: Exception) -> _Failure:
    known = next((k for k in (ValueError, OSError) if isinstance(error, k)), None)
    kind = type(error) if known is None else known
    return _Failure(kind.__name__, " ".join(str(error).split()))


def _answered(exchange: Callable[[], Result]) -> Result:
    try:
        return exchange()
    except RuntimeError as error:
        raise ProcessLostError(
            "another process of this run has died or stopped answering (killed, or out of memory; "
            "see the system's log); the last checkpoint is complete: the same command, with any "
            "number of processes, goes on from there"
        ) from error


def _buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Yield consecutive tensors of one type and device, not too many elements at a time."""
    bucket: list[Tensor] = []
    size = 0
    for tensor in tensors:
        is_alike = not bucket or (bucket[0].dtype, bucket[0].device) == (
            tensor.dtype,
            tensor.device,
        )
        if bucket and (not is_alike or size + tensor.numel() > _AT_ONCE):
            yield bucket
            bucket, size = [], 0
        bucket.append(tensor)
        size += tensor.numel()
    if bucket:
        yield bucket
