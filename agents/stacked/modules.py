"""One model with the weights of several: its batch is R blocks of rows, one for each run."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


class StackedLinear(nn.Module):
    """R matrices; a block of rows is multiplied by that of its run."""

    def __init__(self, weight: nn.Parameter, bias: nn.Parameter | None) -> None:
        """Take the weights [R, N, K] and the biases [R, N]."""
        super().__init__()
        self.weight = weight
        self.bias = bias

    def forward(self, states: Tensor) -> Tensor:
        """Return [R · n, ..., N] of [R · n, ..., K]."""
        blocks = states.reshape(len(self.weight), -1, states.shape[-1])
        weight = self.weight.transpose(1, 2)
        if self.bias is None:
            product = torch.bmm(blocks, weight)
        else:
            product = torch.baddbmm(self.bias[:, None], blocks, weight)
        return product.reshape(*states.shape[:-1], -1)


class StackedEmbedding(nn.Module):
    """R tables; a block of rows looks up that of its run."""

    def __init__(self, weight: nn.Parameter) -> None:
        """Take the tables [R, S, K]."""
        super().__init__()
        self.weight = weight

    def forward(self, index: Tensor) -> Tensor:
        """Return [R · n, ..., K] of [R · n, ...]."""
        runs, size, _ = self.weight.shape
        first = size * torch.arange(runs, device=index.device)
        rows = index.reshape(runs, -1) + first[:, None]
        return functional.embedding(rows.view(index.shape), self.weight.flatten(0, 1))


class StackedNorm(nn.Module):
    """A normalization whose scale is that of each block's run."""

    def __init__(self, norm: nn.Module, weight: nn.Parameter) -> None:
        """Take a normalization by the root mean square, and the scales [R, K]."""
        super().__init__()
        # Its own scale is 1; what it computes besides is the same for all runs.
        self.norm = copy.deepcopy(norm)
        del self.norm.weight
        self.norm.register_buffer("weight", torch.ones_like(weight.data[0]))
        self.weight = weight

    def forward(self, states: Tensor) -> Tensor:
        """Return [R · n, ..., K] of [R · n, ..., K]."""
        normed = self.norm(states).reshape(len(self.weight), -1, states.shape[-1])
        return (normed * self.weight[:, None]).reshape(states.shape)


def unstackable_module(model: nn.Module) -> nn.Module | None:
    """Return a module with weights that `stacked_model` has no stacked form of; None if all have.

    All weights must be trainable.
    """
    for module in model.modules():
        own = list(module.parameters(recurse=False))
        if own and (not _has_stacked_form(module) or not all(p.requires_grad for p in own)):
            return module
    return None


def stacked_model(models: Sequence[nn.Module]) -> nn.Module:
    """Return one model with the weights of R models of one shape, which share its memory.

    From now on a change of the weights of one of them is a change of the stack's.

    Args:
        models: for which `unstackable_module` found nothing.
    """
    made = copy.deepcopy(models[0])
    for name, module in models[0].named_modules():
        if not any(True for _ in module.parameters(recurse=False)):
            continue
        parts = [model.get_submodule(name) for model in models]
        made.set_submodule(name, stacked_module(parts))
    return made


def stacked_module(modules: Sequence[nn.Module]) -> nn.Module:
    """Return the stacked form of R modules of one kind, which share its memory."""
    shared = {
        name: _shared([module.get_parameter(name) for module in modules])
        for name, _ in modules[0].named_parameters(recurse=False)
    }
    weight = shared["weight"]
    if isinstance(modules[0], nn.Linear):
        return StackedLinear(weight, shared.get("bias"))
    if isinstance(modules[0], nn.Embedding):
        return StackedEmbedding(weight)
    return StackedNorm(modules[0], weight)


def _shared(parameters: Sequence[nn.Parameter]) -> nn.Parameter:
    """Return [R, ...] one weight of R models, of which theirs become views."""
    stack = nn.Parameter(torch.stack([parameter.data for parameter in parameters]))
    for parameter, weight in zip(parameters, stack.data, strict=True):
        parameter.data, parameter.grad = weight, None
    return stack


def _has_stacked_form(module: nn.Module) -> bool:
    if type(module) is nn.Embedding:
        return module.padding_idx is None and module.max_norm is None
    names = [name for name, _ in module.named_parameters(recurse=False)]
    is_norm = type(module).__name__.endswith("RMSNorm") and names == ["weight"]
    return type(module) is nn.Linear or is_norm
