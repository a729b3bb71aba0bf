"""What an update consists of: groups of responses, all of them by their probability, or a sample.

Episodes of a group are drawn independently, so only how often each response occurs matters:
groups are multisets, with multinomial probabilities.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
import torch
from torch import Tensor

from agents.exact_gradients.responses import Responses

_EPISODES_AT_ONCE = 1 << 14


@dataclass(frozen=True, kw_only=True)
class Units:
    """U sets of B responses each, from which an update could learn."""

    rows: Tensor
    """[U, B] numbers of responses."""
    weight: Tensor
    """[U] float64 probabilities, which sum to 1; 1/U each where they were drawn."""
    is_drawn: bool
    """Whether these are a sample of all there are."""
    is_joint: bool
    """Whether several can be handed to the learning rule at once, as groups of one rollout."""

    def __len__(self) -> int:
        """Return U."""
        return len(self.rows)

    def chunks(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield rows [u, B] and weights [u] of those that the learning rule is given at once."""
        count = max(1, _EPISODES_AT_ONCE // self.rows.shape[1]) if self.is_joint else 1
        yield from zip(self.rows.split(count), self.weight.split(count), strict=True)


def count_groups(responses: Responses, size: int) -> int:
    """Return how many different groups of a size there are."""
    sizes = torch.bincount(responses.prompt[responses.probability > 0]).tolist()
    return sum(math.comb(count + size - 1, size) for count in sizes)


def every_group(responses: Responses, size: int, *, is_joint: bool) -> Units:
    """Return all groups of responses to one prompt, with their probabilities."""
    rows, weights = [], []
    for prompt in range(responses.prompts):
        # What is never sampled, as under top-k, has no log-probability to learn from.
        is_possible = (responses.prompt == prompt) & (responses.probability > 0)
        numbers = is_possible.nonzero().flatten()
        groups = torch.tensor(list(combinations_with_replacement(range(len(numbers)), size)))
        logs = responses.probability[numbers].log()
        rows.append(numbers[groups])
        weights.append((logs[groups].sum(dim=1) + _log_orders(groups)).exp() / responses.prompts)
    return Units(rows=torch.cat(rows), weight=torch.cat(weights), is_drawn=False, is_joint=is_joint)


def drawn_updates(
    responses: Responses, groups: int, size: int, count: int, generator: np.random.Generator
) -> Units:
    """Return updates of several groups, drawn as an agent draws them.

    Args:
        responses: all there are.
        groups: of each update.
        size: episodes of each group.
        count: number of updates.
        generator: draws prompts and responses.
    """
    prompts = generator.integers(responses.prompts, size=count * groups)
    rows = np.empty((count * groups, size), dtype=np.int64)
    for prompt in range(responses.prompts):
        numbers = (responses.prompt == prompt).nonzero().flatten().numpy()
        chances = responses.probability[numbers].numpy()
        drawn = generator.choice(numbers, size=(count * groups, size), p=chances / chances.sum())
        rows = np.where((prompts == prompt)[:, None], drawn, rows)
    weight = torch.full((count,), 1 / count, dtype=torch.float64)
    return Units(
        rows=torch.from_numpy(rows).reshape(count, groups * size),
        weight=weight,
        is_drawn=True,
        is_joint=False,
    )


def _log_orders(groups: Tensor) -> Tensor:
    """Return log(G! / Π n_y!) of ascending groups [U, G], n_y being how often y occurs."""
    size = groups.shape[1]
    run = torch.ones(len(groups), dtype=torch.float64)
    logs = torch.zeros(len(groups), dtype=torch.float64)
    for column in range(1, size):
        run = torch.where(groups[:, column] == groups[:, column - 1], run + 1, 1.0)
        logs = logs + run.log()
    return math.lgamma(size + 1) - logs
