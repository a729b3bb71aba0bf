"""Gradient steps on a rollout: epochs, minibatches, micro-batches, one optimiser."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from agents.algorithm import Algorithm, check_finite, checked_loss, take_rows
from agents.config import AgentConfig
from agents.policy import Policy, PolicyOutput, detached
from agents.training.pretraining import pretraining_loss
from rlhf_env.engine.language_model import length_batches
from rlhf_env.rollout import Rollout


class Learner:
    """Adam on a policy's weights; the gradient does not depend on how rows are split."""

    def __init__(
        self,
        policy: Policy,
        algorithm: Algorithm,
        config: AgentConfig,
        pretraining: Sequence[Tensor] = (),
    ) -> None:
        """Make the optimiser.

        Args:
            policy: what is trained.
            algorithm: the learning rule.
            config: the settings.
            pretraining: token ids of texts, of which each optimiser step sees as many as episodes
                where ``config.ptx_coef`` is not 0.

        Raises:
            ValueError: if the policy has no weight that can be trained, or several processes
                were launched.
        """
        # Distributed launchers tell each process by this variable how many there are.
        if (processes := int(os.environ.get("WORLD_SIZE") or 1)) > 1:
            raise ValueError(
                f"an agent learns in one process, got {processes}; start it with python instead "
                "of a distributed launcher"
            )
        self.policy = policy
        self.algorithm = algorithm
        self.config = config
        self.pretraining = pretraining
        self.parameters = [p for p in policy.parameters() if p.requires_grad]
        if not self.parameters:
            raise ValueError("the policy has no trainable weight; unfreeze some of them")
        self._first: tuple[Tensor, PolicyOutput] | None = None
        self.optimizer = torch.optim.Adam(
            self.parameters, lr=config.learning_rate, eps=config.adam_epsilon, fused=True
        )

    def describe(self, rollout: Rollout) -> PolicyOutput:
        """Return what the policy that acted says about a rollout.

        Where the first optimiser step asks about the same episodes at once, it goes on from this
        pass instead of running another.
        """
        batches = length_batches(rollout.is_action)
        if self.config.minibatches > 1 or len(batches) > 1:
            return self.policy.evaluate_episodes(rollout.tokens, rollout.is_action)
        rows, _ = batches[0]
        first = self.policy.evaluate_tokens(rollout.tokens[rows], rollout.is_action[rows])
        self._first = rollout.tokens, first
        return take_rows(detached(first), rows.argsort())

    def update(
        self, rollout: Rollout, old: PolicyOutput, targets: Any, generator: np.random.Generator
    ) -> dict[str, float]:
        """Run all epochs on one rollout.

        Args:
            rollout: B episodes.
            old: what the policy that acted says about them.
            targets: what the algorithm aims at.
            generator: shuffles the episodes of each epoch.

        Returns:
            The algorithm's diagnostics, averaged over optimiser steps, ``gradient_norm`` (before
            clipping) and ``optimizer_steps``.

        Raises:
            ValueError: if a loss or a gradient is not finite, or the algorithm's losses are not
                one number per episode with a gradient; the weights are those before the step.
        """
        totals: dict[str, list[float]] = defaultdict(list)
        for _ in range(self.config.epochs):
            for rows in self._minibatches(len(rollout), generator):
                texts = self._texts(len(rows), generator)
                for name, value in self._step(rollout, old, targets, rows, texts).items():
                    totals[name].append(value)
        metrics = {
            name: max(values) if name.endswith("_max") else sum(values) / len(values)
            for name, values in totals.items()
        }
        return metrics | {"optimizer_steps": float(len(totals["gradient_norm"]))}

    def _minibatches(self, count: int, generator: np.random.Generator) -> Iterator[Tensor]:
        if self.config.minibatches == 1:
            return iter([torch.arange(count)])
        order = torch.from_numpy(generator.permutation(count))
        return iter(order.tensor_split(self.config.minibatches))

    def _first_pass(self, rollout: Rollout) -> PolicyOutput | None:
        """Return what `describe` found out about a rollout if no step has been taken since."""
        first, self._first = self._first, None
        return first[1] if first is not None and first[0] is rollout.tokens else None

    def _texts(self, count: int, generator: np.random.Generator) -> list[Tensor]:
        """Draw pretraining texts; none, and no random number, where they have no weight."""
        if not self.config.ptx_coef:
            return []
        return [self.pretraining[i] for i in generator.integers(len(self.pretraining), size=count)]

    def _step(
        self,
        rollout: Rollout,
        old: PolicyOutput,
        targets: Any,
        rows: Tensor,
        texts: Sequence[Tensor],
    ) -> dict[str, float]:
        rows = rows.to(rollout.tokens.device)
        self.optimizer.zero_grad(set_to_none=True)
        sums: dict[str, Tensor] = {}
        for batch, _ in length_batches(rollout.is_action[rows]):
            part = rows[batch]
            episodes = take_rows(rollout, part)
            new = self._first_pass(rollout) or self.policy.evaluate_tokens(
                episodes.tokens, episodes.is_action
            )
            answer = self.algorithm.loss(
                episodes, new, take_rows(old, part), take_rows(targets, part)
            )
            losses, metrics = checked_loss(answer, len(part))
            check_finite(losses, episodes, new, part)
            if self.config.entropy_coef:
                # Weighed by the whole rollout's length, so that the split does not matter.
                weight = len(rollout) / rollout.is_action.sum()
                losses = losses - self.config.entropy_coef * weight * new.entropy.sum(dim=1)
            (losses.sum() / len(rows)).backward()
            share = len(rollout) / rollout.is_action.sum()
            entropy = new.entropy.detach().sum(dim=1) * share
            for name, value in {**metrics, "entropy": entropy}.items():
                _accumulate(sums, name, value.detach())
        if texts:
            nll = pretraining_loss(self.policy, texts, self.config.ptx_coef)
            sums["pretraining_loss"] = nll * len(rows)
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, self.config.max_grad_norm)
        if not norm.isfinite():
            raise ValueError(
                f"the gradient's norm is {float(norm)}; the weights are unchanged: "
                "lower learning_rate, or look for non-finite rewards"
            )
        self.optimizer.step()
        averages = {
            name: float(value) if name.endswith("_max") else float(value) / len(rows)
            for name, value in sums.items()
        }
        return averages | {"gradient_norm": float(norm)}


def _accumulate(sums: dict[str, Tensor], name: str, values: Tensor) -> None:
    if name.endswith("_max"):
        sums[name] = torch.maximum(sums.get(name, values.max()), values.max())
    else:
        sums[name] = sums.get(name, 0.0) + values.sum()
