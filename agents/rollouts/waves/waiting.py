"""Operations for which the host would wait for the device: no CUDA graph can hold them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from rlhf_env.engine.compat import TorchDispatchMode

_TAGS = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}
# Positions of true elements must be counted before they index; positions themselves need not.
_INDEXED = ("index", "index_put", "index_put_", "_index_put_impl_")
_COPIES = ("_to_copy", "copy_")
_MASKS = (torch.bool, torch.uint8)


class Waits(TorchDispatchMode):
    """Lists what would make the host wait, among the operations of this thread inside the ``with``.

    PyTorch's allocator is not what it was after a capture that failed, so this is asked before any
    is begun. The operations run as ever.
    """

    def __init__(self, device: torch.device) -> None:
        """Look at what happens on a device."""
        super().__init__()
        self.device = device
        self.found: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operation, or those that it is made of, and look at it."""
        named = kwargs or {}
        with self:
            result = func.decompose(*args, **named)
        if result is not NotImplemented:
            return result
        result = func(*args, **named)
        if self._waits(func, args, result):
            self.found.append(str(func))
        return result

    def _waits(self, func: Any, args: Sequence[Any], result: Any) -> bool:
        name = func.overloadpacket.__name__
        given, made = _tensors(args), _tensors((result,))
        if name == "lift_fresh":
            # A tensor of Python's numbers.
            return any(self._is_here(each) for each in made)
        # A single number on the host is handed to a kernel as it is, unless a copy is asked for.
        places = {each.device for each in (*given, *made) if each.dim() > 0 or name in _COPIES}
        if len(places) > 1:
            return True
        if not any(map(self._is_here, given)):
            return False
        if name in _INDEXED:
            return any(each is not None and each.dtype in _MASKS for each in args[1])
        return not _TAGS.isdisjoint(func.tags)

    def _is_here(self, tensor: Tensor) -> bool:
        return tensor.device.type == self.device.type


def _tensors(values: Iterable[Any]) -> list[Tensor]:
    """Return the tensors among some values and in the lists among them."""
    flat = (part for value in values for part in _parts(value))
    return [each for each in flat if isinstance(each, Tensor)]


def _parts(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else (value,)
