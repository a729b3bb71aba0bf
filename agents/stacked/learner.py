"""Gradient steps of several agents at once, each with its own clipping and its own Adam."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from agents.agent import Agent
from agents.algorithm import check_finite, checked_loss, take_rows
from agents.policy import PolicyOutput
from agents.rollouts.sampling_plan import Stream
from agents.stacked.adam import StackedAdam
from agents.stacked.policy import StackedPolicy
from agents.training.gradients import is_max
from rlhf_env.rollout import Rollout

# Steps, weights and gradients below it leave finite weights; others are looked at one by one.
_SURELY_FINITE = 1e15


class StackedLearner:
    """What `agents.training.learner.Learner` does, for R agents side by side.

    An agent whose step would not be finite takes none, and is named in ``failures``; the others
    never see it, since no number of theirs depends on its weights.
    """

    def __init__(self, policy: StackedPolicy, agents: Sequence[Agent]) -> None:
        """Take agents of one learning rule, and the policy that shares their weights."""
        self.policy = policy
        self.agents = list(agents)
        self.failures: dict[int, ValueError] = {}
        self._config = agents[0].config
        self._algorithm = agents[0].learner.algorithm
        self._weights = list(policy.parameters())
        # For each stacked weight the R weights that are its parts.
        parts = zip(*(agent.learner.policy.parameters() for agent in agents), strict=True)
        self._adam = StackedAdam(agents, list(parts))

        def per_run(name: str) -> Tensor:
            return torch.tensor([getattr(agent.config, name) for agent in agents]).float()

        device = self._weights[0].device
        self._limits = per_run("max_grad_norm").to(device)
        self._entropy_coef = per_run("entropy_coef").to(device)
        self._has_small_steps = (per_run("learning_rate") < _SURELY_FINITE).to(device)

    @property
    def runs(self) -> int:
        """R."""
        return len(self.agents)

    def update(self, rollout: Rollout, old: PolicyOutput, targets: Any) -> dict[str, Tensor]:
        """Run all epochs on one rollout.

        Args:
            rollout: R blocks of n episodes.
            old: outputs of the policies that acted.
            targets: of the learning rule, with R · n rows.

        Returns:
            The figures of `Learner.update`, [R] float64 each.
        """
        totals: dict[str, list[Tensor]] = defaultdict(list)
        orders = [
            np.random.default_rng([agent.config.seed, Stream.SHUFFLE, agent.updates])
            for agent in self.agents
        ]
        for _ in range(self._config.epochs):
            for rows in self._minibatches(len(rollout) // self.runs, orders):
                sums = self._add_gradients(rollout, old, targets, rows.to(rollout.tokens.device))
                for name, values in sums.items():
                    totals[name].append(values)
                totals["gradient_norm"].append(self._take_step())
        metrics = {}
        for name, values in totals.items():
            steps = torch.stack(values).double()
            metrics[name] = steps.amax(dim=0) if is_max(name) else steps.mean(dim=0)
        steps = torch.full((self.runs,), float(len(totals["gradient_norm"])), dtype=torch.float64)
        return metrics | {"optimizer_steps": steps}

    def _minibatches(self, count: int, orders: Sequence[np.random.Generator]) -> list[Tensor]:
        """Return the rows of each optimizer step of a pass, [R, n] each."""
        first = count * torch.arange(self.runs)[:, None]
        if self._config.minibatches == 1:
            return [first + torch.arange(count)]
        shuffled = np.stack([order.permutation(count) for order in orders])
        order = first + torch.from_numpy(shuffled)
        return list(order.tensor_split(self._config.minibatches, dim=1))

    def _add_gradients(
        self, rollout: Rollout, old: PolicyOutput, targets: Any, rows: Tensor
    ) -> dict[str, Tensor]:
        """Compute the gradient of each run's mean loss over its rows [R, n].

        Returns:
            The means of the diagnostics over the episodes, [R] each; of names that end in "_max",
            the maxima.
        """
        part = longest_first(rollout.is_action, rows).flatten()
        episodes, count = take_rows(rollout, part), rows.shape[1]
        new = self.policy.evaluate(episodes.tokens, episodes.is_action)
        answer = self._algorithm.loss(episodes, new, take_rows(old, part), take_rows(targets, part))
        losses, metrics = checked_loss(answer, len(part))
        if not losses.detach().isfinite().all():
            self._note_failures(losses, episodes, new, part % (len(rollout) // self.runs))
        mean_weight = self._mean_weight(rollout, count)
        entropy = new.entropy.sum(dim=1) * mean_weight
        if self._entropy_coef.any():
            coef = self._entropy_coef.repeat_interleave(count)
            losses = losses - coef * mean_weight * new.entropy.sum(dim=1)
        for weight in self._weights:
            weight.grad = None
        (losses.sum() / count).backward()
        return {
            name: _per_run(name, values.detach(), self.runs)
            for name, values in {**metrics, "entropy": entropy}.items()
        }

    def _mean_weight(self, rollout: Rollout, count: int) -> Tensor:
        """Return [R · count] the factor that turns sums over an episode into means per token."""
        actions = rollout.is_action.view(self.runs, -1).sum(dim=1)
        return (len(rollout) // self.runs / actions).repeat_interleave(count)

    def _note_failures(
        self, losses: Tensor, episodes: Rollout, new: PolicyOutput, numbers: Tensor
    ) -> None:
        """Note the runs with a loss that is not finite; ``numbers`` [R · n] are the episodes'."""
        rows = torch.arange(len(losses), device=losses.device).view(self.runs, -1)
        for run, own in enumerate(rows):
            taken = losses[own], episodes.take(own), take_rows(new, own), numbers[own]
            self._try(run, check_finite, *taken)

    def _take_step(self) -> Tensor:
        """Clip the gradients, step, and return their norms before clipping, [R]."""
        weights = [weight for weight in self._weights if weight.grad is not None]
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        each = [torch.linalg.vector_norm(one.flatten(1), dim=1) for one in gradients]
        norms = torch.linalg.vector_norm(torch.stack(each, dim=1), dim=1)
        self._check_norms(norms)
        # As torch.nn.utils.clip_grad_norm_ does for one model, whose number by a tensor is this.
        factors = (self._limits * (norms + 1e-6).reciprocal()).clamp(max=1.0)
        for gradient in gradients:
            gradient.mul_(factors.view(-1, *[1] * (gradient.dim() - 1)))
        self._adam.step([weight.grad for weight in self._weights], self.failures)
        return norms

    def _check_norms(self, norms: Tensor) -> None:
        """Note the runs whose gradient or next step may not be finite."""
        with torch.no_grad():
            largest = torch.stack([w.flatten(1).abs().amax(dim=1) for w in self._weights]).amax(0)
        is_sure = (norms < _SURELY_FINITE) & (largest < _SURELY_FINITE) & self._has_small_steps
        for run in (~is_sure).nonzero().flatten().tolist():
            self._try(run, self.agents[run].learner.check_step, float(norms[run]))

    def _try(self, run: int, check: Callable[..., None], *given: Any) -> None:
        if run in self.failures:
            return
        try:
            check(*given)
        except ValueError as error:
            self.failures[run] = error


def longest_first(is_action: Tensor, rows: Tensor) -> Tensor:
    """Return [R, n] rows with those of the longest episodes of each run first.

    A policy alone takes them in this order, that of equals included, and sums depend on it: the
    sort is that of `rlhf_env.engine.packing.length_batches`, which is not stable.
    """
    lengths = is_action.shape[1] - is_action.flip(1).int().argmax(dim=1)
    order = lengths[rows].sort(dim=1, descending=True).indices
    return rows.gather(1, order)


def _per_run(name: str, values: Tensor, runs: int) -> Tensor:
    blocks = values.view(runs, -1)
    return blocks.amax(dim=1) if is_max(name) else blocks.sum(dim=1) / blocks.shape[1]
