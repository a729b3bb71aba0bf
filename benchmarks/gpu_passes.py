"""The training pass of `benchmarks.gpu` over responses of many lengths.

A random model hardly ever ends a response, so that all of them are equally long, and equally long
texts attend as one batch without flex attention too.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from agents.policy import Policy
from rlhf_env.engine.language_model import length_batches
from rlhf_env.rollout import Rollout


def cut(is_action: Tensor) -> Tensor:
    """Return where the actions are once each response is cut to a length of its own, [B, L] bool.

    Lengths go from a quarter of the longest to all of it, in an order that has nothing to do with
    the prompts.

    Args:
        is_action: [B, L] bool.
    """
    count, longest = len(is_action), int(is_action.sum(dim=1).max())
    lengths = torch.linspace(max(1, longest // 4), longest, count).long()
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    kept = lengths[order].to(is_action.device)
    return is_action & (is_action.cumsum(dim=1) <= kept[:, None])


def ragged_passes(
    policy: Policy, rollout: Rollout, seconds: Callable[[Callable[[], None]], float]
) -> list[tuple[str, str]]:
    """Return rows of the table: actions per second of a pass and its gradient.

    Args:
        policy: whose log-probabilities are found.
        rollout: of one length.
        seconds: measures some work, done once before.
    """
    is_action = cut(rollout.is_action)

    def add_gradients() -> None:
        for rows, width in length_batches(is_action):
            found = policy.evaluate_tokens(rollout.tokens[rows, :width], is_action[rows, :width])
            found.logprobs.sum().backward()
        policy.zero_grad(set_to_none=True)

    table = []
    for name, uses_flex in (
        ("pass over responses of many lengths", True),
        ("the same without flex attention", False),
    ):
        policy.lm.flex_attention = uses_flex
        speed = int(is_action.sum()) / seconds(add_gradients)
        table.append((f"{name}, tokens/s", f"{speed:,.0f}"))
    policy.lm.flex_attention = True
    return table
