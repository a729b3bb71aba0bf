"""Noticing that a model's weights have changed."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rlhf_env.engine.compat import child_modules, own_tensors, tensor_version

# Elements looked at in each tensor.
_SAMPLES = 4


class WeightFingerprint:
    """The state of a model's parameters and buffers at one moment.

    Most writes raise a tensor's version, but a fused optimizer's and those through ``.data`` do
    not. So a few elements of every tensor are compared too: an optimizer step changes nearly all
    of them. A write through ``.data`` to a handful of elements can still go unnoticed.
    """

    def __init__(self, model: nn.Module) -> None:
        """Remember the weights of a model as they are now."""
        self._model = model
        # Walking through a model takes longer than all the comparisons, so it is done once.
        self._modules = [
            (module, tuple(child_modules(module).values())) for module in model.modules()
        ]
        self._versions = self._present_versions()
        self._views = [_sample(tensor) for tensor in self._tensors()]
        self._values = _values(self._views)

    def matches(self, model: nn.Module) -> bool:
        """Return whether nothing has been written to or exchanged since."""
        return (
            model is self._model
            and all(tuple(child_modules(m).values()) == children for m, children in self._modules)
            and self._versions == self._present_versions()
            and all(map(torch.equal, _values(self._views), self._values))
        )

    def _tensors(self) -> list[Tensor]:
        return [tensor for module, _ in self._modules for tensor in own_tensors(module)]

    def _present_versions(self) -> list[tuple[int, int]]:
        return [(tensor.data_ptr(), tensor_version(tensor)) for tensor in self._tensors()]


def _sample(tensor: Tensor) -> Tensor:
    """Return a view of a few elements."""
    tensor = tensor.detach()
    if not tensor.is_contiguous() or not tensor.numel():
        return tensor.as_strided((min(1, tensor.numel()),), (1,))
    return tensor.view(-1)[:: max(1, tensor.numel() // _SAMPLES)]


def _values(views: list[Tensor]) -> list[Tensor]:
    """Return what the views show now, in one tensor for each device."""
    devices = {view.device for view in views}
    return [
        torch.cat([v for v in views if v.device == device]) for device in sorted(devices, key=str)
    ]
