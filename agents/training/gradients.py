"""The gradient of a minibatch and its diagnostics, added up over the processes that train."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

from agents.processes.exchange import add_up_gradients, gathered
from agents.processes.group import count


def is_max(name: str) -> bool:
    """Return whether a diagnostic is the maximum over episodes, and not their mean."""
    return name.endswith("_max")


def added_gradients(
    parameters: Sequence[Tensor], add: Callable[[], dict[str, float]]
) -> dict[str, float]:
    """Let every process add its part of a gradient, and give all of them the whole.

    Args:
        parameters: what the gradient is of, in the same order everywhere.
        add: adds this process's part to the gradients; returns sums over its episodes, and maxima
            of names that end in "_max".

    Returns:
        The sums and maxima over all processes.
    """
    if count() == 1:
        return add()
    parts = gathered(lambda: (add(), [p.grad is not None for p in parameters]))
    # A weight that no process needed must not get a gradient of 0: Adam would count the step.
    add_up_gradients(
        parameters, [any(column) for column in zip(*(has for _, has in parts), strict=True)]
    )
    return merged([sums for sums, _ in parts])


def merged(parts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return diagnostics of several processes as one: sums, and maxima."""
    found: dict[str, float] = {}
    for part in parts:
        for name, value in part.items():
            if name not in found:
                found[name] = value
            else:
                found[name] = max(found[name], value) if is_max(name) else found[name] + value
    return found
