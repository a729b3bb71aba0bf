"""Adam on the weights of several agents, each with its own step size, count and moments."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from agents.agent import Agent


@dataclass(frozen=True, kw_only=True)
class _Group:
    """Weights of one step size, and the state of their optimizers."""

    settings: dict[str, Any]
    """As the kernel takes them."""
    weights: list[Tensor]
    means: list[Tensor]
    squares: list[Tensor]
    counts: Tensor
    """[n] steps of each weight so far; those of the agents' optimizers are views of it."""
    places: list[tuple[int, int]]
    """Of each weight's gradient: the number of the stacked weight, and the run."""


class StackedAdam:
    """One call of PyTorch's kernel for the weights of all runs, as each agent's own Adam calls it.

    Moments and counts are those of the agents' optimizers, so that these go on from here. What
    `torch.optim.Adam` does around the kernel takes four times as long as the kernel itself.
    """

    def __init__(self, agents: Sequence[Agent], parts: Sequence[Sequence[nn.Parameter]]) -> None:
        """Take the agents, and for each stacked weight the R weights that are its parts."""
        self._optimizers = [agent.learner.optimizer for agent in agents]
        self._parts = parts
        self._groups: list[_Group] = []
        self._present: tuple[tuple[bool, ...], frozenset[int]] | None = None

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor | None], left_out: Collection[int]) -> None:
        """Change the weights.

        Args:
            gradients: [R, ...] of each stacked weight; a weight without one stays as it is.
            left_out: runs whose weights stay as they are.
        """
        present = tuple(each is not None for each in gradients), frozenset(left_out)
        if present != self._present:
            self._present, self._groups = present, self._grouped(*present)
        slopes = [() if each is None else each.unbind() for each in gradients]
        for group in self._groups:
            group.counts.add_(1)
            torch._fused_adam_(  # type: ignore[attr-defined]
                group.weights,
                [slopes[number][run] for number, run in group.places],
                group.means,
                group.squares,
                [],
                list(group.counts.unbind()),
                **group.settings,
            )

    def _grouped(self, has_gradient: Sequence[bool], left_out: Collection[int]) -> list[_Group]:
        """Return what there is to change, by settings."""
        places: dict[str, list[tuple[int, int]]] = defaultdict(list)
        for run, optimizer in enumerate(self._optimizers):
            if run not in left_out:
                own = [(number, run) for number, has_one in enumerate(has_gradient) if has_one]
                places[repr(_kernel_settings(optimizer))] += own
        return [self._group(alike) for alike in places.values() if alike]

    def _group(self, places: list[tuple[int, int]]) -> _Group:
        weights = [self._parts[number][run] for number, run in places]
        optimizers = [self._optimizers[run] for _, run in places]
        states = [_state(*each) for each in zip(optimizers, weights, strict=True)]
        counts = torch.stack([state["step"] for state in states])
        for state, count in zip(states, counts.unbind(), strict=True):
            state["step"] = count
        return _Group(
            settings=_kernel_settings(optimizers[0]),
            weights=[weight.data for weight in weights],
            means=[state["exp_avg"] for state in states],
            squares=[state["exp_avg_sq"] for state in states],
            counts=counts,
            places=places,
        )


def _kernel_settings(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    (group,) = optimizer.param_groups
    named = {name: group[name] for name in ("lr", "weight_decay", "eps", "amsgrad", "maximize")}
    beta1, beta2 = group["betas"]
    return {**named, "beta1": beta1, "beta2": beta2, "grad_scale": None, "found_inf": None}


def _state(optimizer: torch.optim.Optimizer, weight: nn.Parameter) -> dict[str, Tensor]:
    """Return the moments and the count of a weight, which begin at 0."""
    state = optimizer.state[weight]
    if not state:
        state["step"] = torch.zeros((), dtype=torch.float32, device=weight.device)
        state["exp_avg"] = torch.zeros_like(weight, memory_format=torch.preserve_format)
        state["exp_avg_sq"] = torch.zeros_like(weight, memory_format=torch.preserve_format)
    return state
