"""Gradient steps on a rollout: epochs, minibatches, micro-batches, one optimizer.

Of several processes each adds up the gradients of its own rows of a minibatch, and all of them take
the same step. What a row weighs is known from the whole rollout, which every process has.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from agents.algorithm import Algorithm, check_finite, checked_loss, take_rows
from agents.config import AgentConfig
from agents.entropy.coefficient import EntropyControl
from agents.policy import Policy, PolicyOutput, detached
from agents.processes.exchange import take_over
from agents.processes.shares import own_part
from agents.rollouts.divided import evaluated_in_shares
from agents.training.gradients import added_gradients, is_max
from agents.training.pretraining import pretraining_loss
from agents.training.trained_parts import frozen, parameter_groups
from rlhf_env.engine.language_model import length_batches
from rlhf_env.engine.placement import sent
from rlhf_env.rollout import Rollout

# In one step Adam moves a weight by at most this many learning rates: with its betas of 0.9 and
# 0.999, |m| / sqrt(v) is at most 7.3 (Cauchy-Schwarz), whatever the gradients were.
_LONGEST_STEP = 10.0


class Learner:
    """Adam on a policy's weights; the gradient does not depend on how rows are split."""

    def __init__(
        self,
        policy: Policy,
        algorithm: Algorithm,
        config: AgentConfig,
        pretraining: Sequence[Tensor] = (),
    ) -> None:
        """Make the optimizer.

        Args:
            policy: what is trained.
            algorithm: the learning rule.
            config: the settings.
            pretraining: token ids of texts, of which each optimizer step sees as many as episodes
                where ``config.ptx_coef`` is not 0.

        Raises:
            ValueError: if the policy has no weight that can be trained.
        """
        self.policy = policy
        self.algorithm = algorithm
        self.config = config
        self.pretraining = pretraining
        self.parameters = [p for p in policy.parameters() if p.requires_grad]
        if not self.parameters:
            raise ValueError("the policy has no trainable weight; unfreeze some of them")
        groups = parameter_groups(
            policy, self.parameters, getattr(config, "critic_learning_rate", None)
        )
        self.optimizer = torch.optim.Adam(
            groups, lr=config.learning_rate, eps=config.adam_epsilon, fused=True
        )
        take_over([*policy.parameters(), *policy.buffers()])
        self.entropy = EntropyControl(config)
        self.is_critic_only = False

    @contextmanager
    def critic_only(self) -> Iterator[None]:
        """Let only the critic learn for a while, from a policy that stays as it is."""
        models = [p for p in self.policy.model.parameters() if p.requires_grad]
        self.is_critic_only = True
        try:
            with frozen(models):
                yield
        finally:
            self.is_critic_only = False

    def evaluate_rollout(self, rollout: Rollout) -> tuple[PolicyOutput, PolicyOutput | None]:
        """Return the acting policy's outputs on a rollout, before any step.

        Returns:
            The outputs without gradient, in the order of the episodes; and, where the first
            optimizer step needs the same pass, that pass with its gradient, for `update`.
        """
        kept: list[PolicyOutput] = []

        def outputs(episodes: Rollout) -> PolicyOutput:
            batches = length_batches(episodes.is_action)
            if self.config.minibatches > 1 or len(batches) > 1:
                return self.policy.evaluate_episodes(episodes.tokens, episodes.is_action)
            rows, _ = batches[0]
            kept.append(self._outputs(take_rows(episodes, rows)))
            return take_rows(detached(kept[0]), rows.argsort())

        return evaluated_in_shares(rollout, outputs), kept[0] if kept else None

    def update(
        self,
        rollout: Rollout,
        old: PolicyOutput,
        targets: Any,
        generator: np.random.Generator,
        first_pass: PolicyOutput | None = None,
    ) -> dict[str, float]:
        """Run all epochs on one rollout.

        Args:
            rollout: B episodes.
            old: outputs of the policy that acted.
            targets: the algorithm's targets.
            generator: shuffles the episodes of each epoch.
            first_pass: of `evaluate_rollout` on the same episodes, if no step was taken since; the
                first step continues from it instead of running another pass.

        Returns:
            The algorithm's diagnostics, averaged over optimizer steps, ``gradient_norm`` (before
            clipping) and ``optimizer_steps``.

        Raises:
            ValueError: if a loss or a gradient is not finite, the step might not be, or the
                algorithm's losses are not one number per episode with a gradient; the weights are
                those before the step.
        """
        totals: dict[str, list[float]] = defaultdict(list)
        for _ in range(self.config.epochs):
            for rows in self._minibatches(rollout, generator):
                self.optimizer.zero_grad(set_to_none=True)
                texts = self._texts(len(rows), generator)
                add = partial(self._add_parts, rollout, old, targets, rows, texts, first_pass)
                first_pass = None
                sums = added_gradients(self.parameters, add)
                norm = self._take_step()
                for name, value in sums.items():
                    totals[name].append(value if is_max(name) else value / len(rows))
                totals["gradient_norm"].append(norm)
        metrics = {
            name: max(values) if is_max(name) else sum(values) / len(values)
            for name, values in totals.items()
        }
        if getattr(self.config, "entropy_target", None) is not None:
            metrics["entropy_coef"] = self.entropy.value
            if not self.is_critic_only:
                self.entropy.observe(metrics["entropy"])
        return metrics | {"optimizer_steps": float(len(totals["gradient_norm"]))}

    def _minibatches(self, rollout: Rollout, generator: np.random.Generator) -> Iterator[Tensor]:
        """Return the rows of each optimizer step of a pass."""
        count = len(rollout)
        if self.config.minibatches == 1:
            return iter([torch.arange(count)])
        order = torch.from_numpy(generator.permutation(count))
        return iter(order.tensor_split(self.config.minibatches))

    def _micro_batches(self, rollout: Rollout, rows: Tensor) -> Iterator[Tensor]:
        """Return the rows of each forward and backward pass of an optimizer step."""
        return (rows[batch] for batch, _ in length_batches(rollout.is_action[rows]))

    def _texts(self, count: int, generator: np.random.Generator) -> list[Tensor]:
        """Draw pretraining texts; none, and no random number, where they have no weight."""
        if not self.config.ptx_coef or self.is_critic_only:
            return []
        return [self.pretraining[i] for i in generator.integers(len(self.pretraining), size=count)]

    def _own_rows(self, rollout: Rollout, rows: Tensor) -> Tensor:
        """Return this process's part of the rows of an optimizer step; there may be none."""
        return own_part(rows)

    def _add_parts(
        self,
        rollout: Rollout,
        old: PolicyOutput,
        targets: Any,
        rows: Tensor,
        texts: Sequence[Tensor],
        first_pass: PolicyOutput | None,
    ) -> dict[str, float]:
        """Add the gradients of episodes and texts, and return sums of the diagnostics."""
        sums = self._add_gradients(rollout, old, targets, rows, first_pass)
        if texts:
            nll = pretraining_loss(self.policy, texts, self.config.ptx_coef)
            sums["pretraining_loss"] = nll * len(rows)
        return {name: float(value) for name, value in sums.items()}

    def _add_gradients(
        self,
        rollout: Rollout,
        old: PolicyOutput,
        targets: Any,
        minibatch: Tensor,
        first_pass: PolicyOutput | None,
    ) -> dict[str, Tensor]:
        """Add up the gradient of a minibatch's mean loss, one micro-batch at a time.

        Returns:
            The sums of the diagnostics over the episodes; of names that end in "_max", the maxima.
            Of several processes each adds what its own rows contribute.
        """
        rows = sent(self._own_rows(rollout, minibatch), rollout.tokens.device)
        sums: dict[str, Tensor] = {}
        # Relative to the whole rollout's lengths, so that the split does not matter.
        mean_weight = len(rollout) / rollout.is_action.sum()
        for part in self._micro_batches(rollout, rows):
            episodes = take_rows(rollout, part)
            new, first_pass = first_pass, None
            if new is None:
                new = self._outputs(episodes)
            answer = self.algorithm.loss(
                episodes, new, take_rows(old, part), take_rows(targets, part)
            )
            losses, metrics = checked_loss(answer, len(part))
            check_finite(losses, episodes, new, part)
            if self.entropy.value:
                losses = losses - self.entropy.value * mean_weight * new.entropy.sum(dim=1)
            self._backward(losses.sum() / len(minibatch), episodes, new)
            entropy = new.entropy.detach().sum(dim=1) * mean_weight
            _accumulate(sums, {**metrics, "entropy": entropy})
        return sums

    def _outputs(self, episodes: Rollout) -> PolicyOutput:
        """Return the outputs of the policy being trained on a micro-batch, with gradient."""
        return self.policy.evaluate_tokens(episodes.tokens, episodes.is_action)

    def _backward(self, loss: Tensor, episodes: Rollout, new: PolicyOutput) -> None:
        """Add the gradient of a micro-batch's loss to that of the weights."""
        loss.backward()

    def _take_step(self) -> float:
        """Clip the gradient, step, and return the gradient's norm before clipping."""
        limit = self.config.max_grad_norm
        norm = float(torch.nn.utils.clip_grad_norm_(self.parameters, limit))
        self.check_step(norm)
        self.optimizer.step()
        return norm

    def check_step(self, norm: float) -> None:
        """Raise ValueError unless a step leaves finite weights.

        Args:
            norm: of the gradient, before clipping.
        """
        if not math.isfinite(norm):
            raise ValueError(
                f"the gradient's norm is {norm}; the weights are unchanged: "
                "lower learning_rate, or look for non-finite rewards"
            )
        self._check_reach(min(norm, self.config.max_grad_norm))

    def _check_reach(self, norm: float) -> None:
        """Refuse a step that could make a weight overflow, while nothing has changed yet.

        A bound on the step costs one pass over the weights; undoing a step would need copies of
        the weights and of the optimizer's moments.

        Args:
            norm: of the gradient, after clipping.
        """
        with torch.no_grad():
            # On CPUs a maximum norm takes seven times as long.
            ends = [end for weight in self.parameters for end in weight.aminmax()]
            largest = float(torch.stack(ends).abs().max())
        limit = min(torch.finfo(p.dtype).max for p in self.parameters)
        groups = self.optimizer.param_groups
        rate = max(float(group["lr"]) for group in groups)
        reach = largest + _LONGEST_STEP * rate
        # Adam squares the gradient, and divides by its root mean square plus epsilon.
        if reach < limit and norm**2 < limit and groups[0].get("eps", 1.0) > 0:
            return
        raise ValueError(
            f"the next optimizer step could leave weights that are not finite: the largest weight "
            f"is {largest:g}, learning_rate {rate:g}, the gradient's norm {norm:g}; the "
            "weights are unchanged: lower learning_rate or max_grad_norm"
        )


def _accumulate(sums: dict[str, Tensor], metrics: Mapping[str, Tensor]) -> None:
    """Add the diagnostics of some episodes, each [b], to the sums so far."""
    for name, given in metrics.items():
        values = given.detach()
        if is_max(name):
            sums[name] = torch.maximum(sums.get(name, values.max()), values.max())
        else:
            sums[name] = sums.get(name, 0.0) + values.sum()
