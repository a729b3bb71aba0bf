"""A natural gradient step in a trust region for the policy, Adam for the critic."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from agents.algorithm import Algorithm, check_finite, take_rows
from agents.algorithms.trust_region.conjugate_gradient import conjugate_gradient, step_scale
from agents.algorithms.trust_region.fisher import summed_fisher_product, summed_kl
from agents.policy import Policy, PolicyOutput
from agents.processes.exchange import added, gathered
from agents.processes.shares import own_rows
from agents.rollouts.contract import check_methods
from agents.rollouts.decisions import is_decision
from agents.rollouts.divided import evaluated_in_shares, own_episodes
from agents.settings.trpo import TrustRegionConfig
from agents.training.gradients import is_max, merged
from agents.training.learner import Learner
from agents.training.trained_parts import frozen
from rlhf_env.engine.language_model import LanguageModel, length_batches
from rlhf_env.rollout import Rollout

# Among the sums over episodes; no diagnostic has a name like it.
_LOSS = "loss to be lowered"


class TrustRegionAlgorithm(Algorithm, Protocol):
    """A learning rule whose ``loss`` is the critic's alone."""

    def surrogate(
        self, rollout: Rollout, new: PolicyOutput, old: PolicyOutput, targets: Any
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the policy's loss of some of the rows, in the form of `Algorithm.loss`."""
        ...


class TrustRegionLearner(Learner):
    """One natural gradient step on the policy, then epochs of Adam on the critic.

    The critic's loss never moves the policy: a critic on the policy's trunk learns by its linear
    head alone, which is fitted after the step, to the trunk as it then is. During an update there
    is a second copy of the trained weights, of the policy that acted.
    """

    algorithm: TrustRegionAlgorithm
    config: TrustRegionConfig

    def __init__(
        self,
        policy: Policy,
        algorithm: TrustRegionAlgorithm,
        config: TrustRegionConfig,
        pretraining: Sequence[Tensor] = (),
    ) -> None:
        """Make the critic's optimizer.

        Args:
            policy: what is trained.
            algorithm: the learning rule.
            config: the settings; ``learning_rate``, ``epochs``, ``minibatches`` and
                ``max_grad_norm`` are those of the critic.
            pretraining: none.

        Raises:
            ValueError: if the policy has no weight that can be trained, or the algorithm has no
                surrogate.
        """
        check_methods("algorithm", algorithm, ("surrogate",), "surrogate like loss, of the policy")
        self.policy_parameters = [p for p in policy.model.parameters() if p.requires_grad]
        if not self.policy_parameters:
            raise ValueError("the policy has no trainable weight; unfreeze some of them")
        with frozen(self.policy_parameters):
            super().__init__(policy, algorithm, config, pretraining)

    def evaluate_rollout(self, rollout: Rollout) -> tuple[PolicyOutput, None]:
        """Return the acting policy's outputs; no gradient step can continue from its pass."""
        return evaluated_in_shares(rollout, self.policy.evaluate_rollout), None

    def update(
        self,
        rollout: Rollout,
        old: PolicyOutput,
        targets: Any,
        generator: np.random.Generator,
        first_pass: PolicyOutput | None = None,
    ) -> dict[str, float]:
        """Move the policy once and fit the critic; see `Learner.update`.

        Returns:
            The diagnostics of surrogate and critic; ``kl_to_old``, the exact KL(old || new) in
            nats per decision; ``surrogate_gain``, by how much the surrogate's loss fell;
            ``step_fraction`` of the longest step that the quadratic KL allows, 0 where the
            search failed and the policy stays as it is; ``line_search_failed``, 1.0 then;
            ``gradient_norm`` of the surrogate, ``critic_gradient_norm`` and ``optimizer_steps``
            of the critic.
        """
        moved = {} if self.is_critic_only else self._move_policy(rollout, old, targets)
        if getattr(self.config, "is_monte_carlo", False):
            return moved | {"optimizer_steps": 0.0}
        with frozen(self.policy_parameters):
            fitted = super().update(rollout, old, targets, generator)
        return fitted | {"critic_gradient_norm": fitted["gradient_norm"]} | moved

    def _move_policy(self, rollout: Rollout, old: PolicyOutput, targets: Any) -> dict[str, float]:
        loss, metrics, gradient = self._surrogate(rollout, old, targets, with_gradient=True)
        norm = gradient.norm()
        if not norm.isfinite():
            raise ValueError(
                f"the surrogate's gradient has norm {float(norm)}; the weights are unchanged: "
                "look for non-finite rewards"
            )
        step = self._longest_step(gradient, rollout)
        before = [p.detach().clone() for p in self.policy_parameters]
        acted, decisions = self._copy_of_model(), is_decision(rollout).sum()
        own, temperature = own_episodes(rollout), self.policy.temperature
        gain, kl, fraction = 0.0, 0.0, 0.0
        try:
            for backtracks in range(self.config.max_backtracks + 1):
                tried = self.config.backtrack_factor**backtracks
                self._place(before, tried * step)
                lower, found, _ = self._surrogate(rollout, old, targets, with_gradient=False)
                moved_by = partial(summed_kl, acted, self.policy.lm, own, temperature)
                distance = added(moved_by) / decisions
                if lower < loss and distance <= self.config.max_kl:
                    gain, kl, fraction, metrics = loss - lower, float(distance), tried, found
                    break
        finally:
            # Also where the search is interrupted.
            if not fraction:
                self._place(before, None)
        return metrics | {
            "kl_to_old": kl,
            "surrogate_gain": gain,
            "step_fraction": fraction,
            "line_search_failed": float(fraction == 0.0),
            "gradient_norm": float(norm),
        }

    def _longest_step(self, gradient: Tensor, rollout: Rollout) -> Tensor:
        """Return the natural step at which the quadratic KL is ``max_kl``, flat."""
        decisions, own = is_decision(rollout).sum(), own_episodes(rollout)

        def own_product(vector: Tensor) -> Tensor:
            parts = self._unflat(vector)
            temperature = self.policy.temperature
            return _flat(
                summed_fisher_product(
                    self.policy.lm, self.policy_parameters, parts, own, temperature
                )
            )

        def product(vector: Tensor) -> Tensor:
            curved = added(partial(own_product, vector))
            return curved / decisions + self.config.damping * vector

        direction = conjugate_gradient(product, -gradient, self.config.cg_iterations)
        return step_scale(direction, product(direction), self.config.max_kl) * direction

    def _surrogate(
        self, rollout: Rollout, old: PolicyOutput, targets: Any, *, with_gradient: bool
    ) -> tuple[float, dict[str, float], Tensor]:
        """Return the policy's loss, its diagnostics and its flat gradient; zeros without it."""
        slopes = [torch.zeros_like(p) for p in self.policy_parameters]

        def own_sums() -> dict[str, float]:
            sums = {_LOSS: 0.0}
            mine = own_rows(len(rollout)).to(rollout.tokens.device)
            for batch, _ in length_batches(rollout.is_action[mine]):
                rows = mine[batch]
                episodes = take_rows(rollout, rows)
                with torch.set_grad_enabled(with_gradient):
                    new = self.policy.evaluate_tokens(episodes.tokens, episodes.is_action)
                    losses, metrics = self.algorithm.surrogate(
                        episodes, new, take_rows(old, rows), take_rows(targets, rows)
                    )
                    if self.entropy.value:
                        weight = self.entropy.value * len(rollout) / rollout.is_action.sum()
                        losses = losses - weight * new.entropy.sum(dim=1)
                if with_gradient:
                    check_finite(losses, episodes, new, rows)
                    mean = losses.sum() / len(rollout)
                    found = torch.autograd.grad(
                        mean, self.policy_parameters, materialize_grads=True
                    )
                    for slope, part in zip(slopes, found, strict=True):
                        slope += part
                sums[_LOSS] += float(losses.detach().double().sum())
                for name, values in metrics.items():
                    here = values.detach()
                    value = float(here.max() if is_max(name) else here.double().sum())
                    sums = merged([sums, {name: value}])
            return sums

        sums = merged(gathered(own_sums))
        means = {n: v if is_max(n) else v / len(rollout) for n, v in sums.items()}
        return means.pop(_LOSS), means, added(lambda: _flat(slopes))

    def _copy_of_model(self) -> LanguageModel:
        """Return the model with its trained weights copied; the others are shared."""
        model = self.policy.model
        shared = {id(p): p for p in model.parameters() if not p.requires_grad}
        return LanguageModel(copy.deepcopy(model, memo=shared), self.policy.lm.vocab_size)

    @torch.no_grad()
    def _place(self, start: Sequence[Tensor], step: Tensor | None) -> None:
        """Set the weights to ``start``, moved by a flat step."""
        moves = [None] * len(start) if step is None else self._unflat(step)
        for parameter, origin, move in zip(self.policy_parameters, start, moves, strict=True):
            parameter.copy_(origin if move is None else origin + move)

    def _unflat(self, vector: Tensor) -> list[Tensor]:
        """Cut a flat vector into the shapes of the policy's weights."""
        parts = vector.split([p.numel() for p in self.policy_parameters])
        pairs = zip(parts, self.policy_parameters, strict=True)
        return [part.view_as(p).to(p.dtype) for part, p in pairs]


def _flat(parts: Sequence[Tensor]) -> Tensor:
    return torch.cat([part.flatten().float() for part in parts])
