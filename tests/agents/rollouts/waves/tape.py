"""A recorder for CPUs that behaves as a CUDA graph does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Tape(TorchDispatchMode):
    """Operations and the tensors they were called with.

    A repetition runs them on the memory of these tensors, and no Python of the step. Recording
    leaves no trace: what operations wrote to is put back.
    """

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple[Any, Sequence[Any], dict[str, Any], Any]] = []
        self.before: list[tuple[Tensor, Tensor]] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        named = kwargs or {}
        with self:
            result = func.decompose(*args, **named)
        if result is not NotImplemented:
            return result
        for argument, given in zip(func._schema.arguments, args, strict=False):
            if argument.alias_info is not None and argument.alias_info.is_write:
                self.before.append((given, given.clone()))
        result = func(*args, **named)
        self.operations.append((func, args, named, result))
        return result

    def undo(self) -> None:
        for tensor, before in reversed(self.before):
            tensor.copy_(before)
        self.before.clear()

    def repeat(self) -> None:
        for func, args, named, result in self.operations:
            again = func(*args, **named)
            for old, new in zip(tree_leaves(result), tree_leaves(again), strict=True):
                if not isinstance(old, Tensor):
                    continue
                if old.untyped_storage().data_ptr() != new.untyped_storage().data_ptr():
                    old.copy_(new)


class Tapes:
    """Records steps as tapes, and counts."""

    def __init__(self) -> None:
        self.recorded = 0
        self.repeated = 0

    @contextmanager
    def running(self) -> Iterator[None]:
        yield

    def record(self, step: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
        tape = Tape()
        with tape:
            output = step()
        tape.undo()
        # Until it is repeated, a recording holds no numbers.
        output.fill_(torch.nan)
        self.recorded += 1

        def repeat() -> None:
            self.repeated += 1
            tape.repeat()

        return repeat, output
