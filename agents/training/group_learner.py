"""A learner whose minibatches and micro-batches hold whole groups of responses.

A loss that compares the responses to one prompt must see all of them. A group that is too large
for one pass is learned from in two: first all outputs without gradient, from which the loss and its
derivative by every output follow; then, part by part, the gradient of Σ derivative · output, which
is the loss's own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from agents.policy import PolicyOutput
from agents.processes.shares import own_items
from agents.rollouts.divided import evaluated_in_shares
from agents.training.learner import Learner
from rlhf_env.engine.language_model import length_batches
from rlhf_env.rollout import Rollout


class GroupLearner(Learner):
    """Adam on a policy's weights; consecutive rows of one group are never parted."""

    max_tokens = 8192
    """Upper bound of rows x width of a pass."""

    def evaluate_rollout(self, rollout: Rollout) -> tuple[PolicyOutput, PolicyOutput | None]:
        """Return the acting policy's outputs; the first step runs a pass of its own."""
        return evaluated_in_shares(rollout, self.policy.evaluate_rollout), None

    def _minibatches(self, rollout: Rollout, generator: np.random.Generator) -> Iterator[Tensor]:
        if self.config.minibatches == 1:
            return iter([torch.arange(len(rollout))])
        groups = group_rows(rollout)
        if len(groups) < self.config.minibatches:
            raise ValueError(
                f"minibatches must be at most the number of groups, {len(groups)}, got "
                f"{self.config.minibatches}; lower it or raise episodes_per_update"
            )
        parts = np.array_split(generator.permutation(len(groups)), self.config.minibatches)
        return iter([torch.cat([groups[i] for i in part]) for part in parts])

    def _own_rows(self, rollout: Rollout, rows: Tensor) -> Tensor:
        groups = own_items(group_rows(rollout.take(rows)))
        return rows[torch.cat(groups)] if groups else rows[:0]

    def _micro_batches(self, rollout: Rollout, rows: Tensor) -> Iterator[Tensor]:
        """Return whole groups, those of long responses first, as many as the bound admits."""
        if not len(rows):
            return
        episodes = rollout.take(rows)
        ends = episodes.lengths.tolist()
        groups = group_rows(episodes)
        groups.sort(key=lambda group: -max(ends[row] for row in group.tolist()))
        batch: list[Tensor] = []
        width = count = 0
        for group in groups:
            longest = max(ends[row] for row in group.tolist())
            if batch and max(width, longest) * (count + len(group)) > self.max_tokens:
                yield rows[torch.cat(batch).to(rows.device)]
                batch, width, count = [], 0, 0
            batch.append(group)
            width, count = max(width, longest), count + len(group)
        yield rows[torch.cat(batch).to(rows.device)]

    def _outputs(self, episodes: Rollout) -> PolicyOutput:
        if self._is_one_pass(episodes):
            return super()._outputs(episodes)
        return _with_leaves(self.policy.evaluate_episodes(episodes.tokens, episodes.is_action))

    def _backward(self, loss: Tensor, episodes: Rollout, new: PolicyOutput) -> None:
        if self._is_one_pass(episodes):
            super()._backward(loss, episodes, new)
            return
        slopes = torch.autograd.grad(loss, list(_tensors(new)), materialize_grads=True)
        for rows, _ in self._passes(episodes):
            outputs = self.policy.evaluate_tokens(episodes.tokens[rows], episodes.is_action[rows])
            pairs = zip(_tensors(outputs), slopes, strict=True)
            torch.stack([(slope[rows] * output).sum() for output, slope in pairs]).sum().backward()

    def _is_one_pass(self, episodes: Rollout) -> bool:
        return len(self._passes(episodes)) == 1

    def _passes(self, episodes: Rollout) -> list[tuple[Tensor, int]]:
        return length_batches(episodes.is_action, self.max_tokens)


def group_rows(rollout: Rollout) -> list[Tensor]:
    """Return the rows of each group, in their order; a group's rows are consecutive."""
    counts = rollout.group.unique_consecutive(return_counts=True)[1]
    return list(torch.arange(len(rollout)).split(counts.tolist()))


def _with_leaves(output: PolicyOutput) -> PolicyOutput:
    """Return outputs that a loss can be differentiated by."""

    def leaf(value: Any) -> Any:
        if value is None:
            return None
        if isinstance(value, Mapping):
            return {name: leaf(part) for name, part in value.items()}
        return value.detach().clone().requires_grad_()

    fields = dataclasses.fields(output)
    return PolicyOutput(**{field.name: leaf(getattr(output, field.name)) for field in fields})


def _tensors(output: PolicyOutput) -> Iterator[Tensor]:
    """Yield every tensor of the outputs, those in mappings too, in a fixed order."""
    for field in dataclasses.fields(output):
        value = getattr(output, field.name)
        if value is not None:
            yield from value.values() if isinstance(value, Mapping) else [value]
