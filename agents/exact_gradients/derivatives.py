"""Derivatives of a learning rule's loss with respect to what the policy says of each response.

The loss depends on the weights only through the policy's outputs (log-probabilities, entropies,
normalizers, values). Their derivatives with respect to the weights are computed once; for every set
of episodes only the loss's derivatives with respect to the outputs are needed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from agents.agent import Agent
from agents.algorithm import checked_loss, take_rows
from agents.exact_gradients.responses import Responses
from agents.policy import PolicyOutput
from agents.rollouts.values import with_values

Record = TypeVar("Record")

_PER_TOKEN = ("logprobs", "entropy", "log_normalizer")


@dataclass(frozen=True, kw_only=True)
class LossDerivatives:
    """How the loss of sets of episodes depends on the policy's outputs."""

    agent: Agent
    """Whose algorithm it is."""
    responses: Responses
    """Every response there is, as the agent learns from it."""
    old: PolicyOutput
    """What the policy that acted says of each response, float64."""
    new: PolicyOutput
    """What the policy being trained says of each, float64."""
    values: Callable[[Tensor], Mapping[str, Tensor]] | None = None
    """[n, D] the critic's values for some responses, where they are not those of ``old``."""

    def of(self, rows: Tensor) -> Tensor:
        """Return minus the derivatives of the mean loss of each set, as one update computes it.

        Args:
            rows: [U, B] numbers of responses.

        Returns:
            Sparse [U, K] float64, over the K outputs in the order of `flat_outputs`.
        """
        config, algorithm = self.agent.config, self.agent.learner.algorithm
        count, size = rows.shape
        flat = rows.flatten()
        number = torch.arange(len(flat), device=flat.device)
        rollout = as_double(self.responses.rollout.take(flat))
        rollout = rollout.replace(group=number // config.group_size)
        old = take_rows(self.old, flat)
        if self.values is not None:
            old = with_values(old, rollout, self.values(flat))
        targets, _ = self.agent.targets(rollout, old)
        new, leaves = _with_leaves(take_rows(self.new, flat))
        losses, _ = checked_loss(algorithm.loss(rollout, new, old, targets), len(flat))
        if entropy_coef := self.agent.learner.entropy.value:
            mean_weight = len(flat) / rollout.is_action.sum()
            losses = losses - entropy_coef * mean_weight * new.entropy.sum(dim=1)
        slopes = torch.autograd.grad(losses.sum() / -size, leaves, allow_unused=True)
        columns, values = [], []
        offset, responses = 0, len(self.responses.probability)
        for leaf, slope in zip(leaves, slopes, strict=True):
            each = leaf[0].numel()
            if slope is not None:
                columns.append(offset + flat[:, None] * each + torch.arange(each))
                values.append(slope.reshape(len(flat), each))
            offset += responses * each
        unit = (number // size)[:, None].expand(-1, sum(part.shape[1] for part in values))
        index = torch.stack([unit.flatten(), torch.cat(columns, dim=1).flatten()])
        found = torch.cat(values, dim=1).flatten()
        used = found != 0
        shape = (count, offset)
        found = torch.sparse_coo_tensor(index[:, used], found[used], shape, check_invariants=True)
        return found.coalesce()


def flat_outputs(output: PolicyOutput) -> Tensor:
    """Return all outputs of R responses as one vector [K]."""
    return torch.cat([part.flatten() for part in _parts(output)])


def output_jacobian(agent: Agent, responses: Responses, columns: Tensor) -> Tensor:
    """Return the derivatives of some outputs with respect to the policy's weights.

    Args:
        agent: whose language model is differentiated; its critic's head is not.
        responses: every response.
        columns: [k] numbers of the outputs, in the order of `flat_outputs`.

    Returns:
        [k, P] float64, over the P trainable weights of ``agent.policy.model``.
    """
    rollout = responses.rollout
    output = agent.policy.evaluate_tokens(rollout.tokens, rollout.is_action)
    vector = flat_outputs(output)
    weights = trained_weights(agent)
    rows = torch.zeros(len(columns), sum(w.numel() for w in weights), dtype=torch.float64)
    for row, column in zip(rows, columns.tolist(), strict=True):
        if not vector[column].requires_grad:
            continue
        slopes = torch.autograd.grad(vector[column], weights, retain_graph=True, allow_unused=True)
        parts = [
            torch.zeros_like(weight) if slope is None else slope
            for weight, slope in zip(weights, slopes, strict=True)
        ]
        row.copy_(torch.cat([part.flatten() for part in parts]))
    return rows


def trained_weights(agent: Agent) -> list[nn.Parameter]:
    """Return the trainable weights of the language model.

    Raises:
        ValueError: if there are none.
    """
    weights = [weight for weight in agent.policy.model.parameters() if weight.requires_grad]
    if not weights:
        raise ValueError("the policy's model has no trainable weight; unfreeze some of them")
    return weights


def as_double(record: Record) -> Record:
    """Return a record of tensors with its floating-point numbers in float64."""

    def widen(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {name: widen(part) for name, part in value.items()}
        is_float = isinstance(value, Tensor) and value.is_floating_point()
        return value.double() if is_float else value

    values = {each.name: widen(getattr(record, each.name)) for each in fields(record)}  # type: ignore[arg-type]
    return type(record)(**values)


def _per_token(output: PolicyOutput) -> dict[str, Tensor]:
    """Return the outputs for every token, by name, of those that there are."""
    known = {name: getattr(output, name) for name in _PER_TOKEN}
    return {name: part for name, part in known.items() if part is not None}


def _parts(output: PolicyOutput) -> list[Tensor]:
    per_token = _per_token(output).values()
    return [*per_token, *output.term_values.values(), *output.last_term_values.values()]


def _with_leaves(output: PolicyOutput) -> tuple[PolicyOutput, list[Tensor]]:
    """Return outputs whose parts are leaves of a graph, and the leaves in the order of `_parts`."""
    leaves = [part.detach().clone().requires_grad_(True) for part in _parts(output)]
    per_token, names = list(_per_token(output)), list(output.term_values)
    rest = leaves[len(per_token) :]
    values = dict(zip(names, rest[: len(names)], strict=True))
    last_values = dict(zip(names, rest[len(names) :], strict=True))
    return PolicyOutput(
        **dict(zip(per_token, leaves, strict=False)),
        values=torch.stack(list(values.values())).sum(dim=0),
        last_values=torch.stack(list(last_values.values())).sum(dim=0),
        term_values=values,
        last_term_values=last_values,
    ), leaves
