"""Which weights learn, and at which step size: those of the policy, and those of the critic."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from agents.policy import Policy


def parameter_groups(
    policy: Policy, parameters: Sequence[nn.Parameter], critic_rate: float | None
) -> list[Any]:
    """Return weights as an optimizer takes them, in two groups if their step sizes differ.

    Args:
        policy: with its critic.
        parameters: all that learn, in the order by which checkpoints number them: the critic last.
        critic_rate: the critic's learning rate; None where it has the policy's.
    """
    if critic_rate is None:
        return list(parameters)
    critic = policy.critic_parameters()
    known = {id(p) for p in critic}
    return [
        {"params": [p for p in parameters if id(p) not in known]},
        {"params": critic, "lr": critic_rate},
    ]


@contextmanager
def frozen(parameters: Sequence[Tensor]) -> Iterator[None]:
    """Temporarily freeze parameters, all of which are trained."""
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)
