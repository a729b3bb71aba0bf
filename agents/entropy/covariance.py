"""The covariance of log-probability and advantage, by which a policy gradient spends entropy.

For a small step of a softmax policy the entropy falls by about the step size times this covariance
(arXiv:2505.22617), and few decisions make up most of it: those are left out (Clip-Cov), or held
near the policy that acted (KL-Cov). Decisions are chosen once for a rollout, by the policy at the
beginning of the update, so that neither the order of minibatches nor their split matters.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from agents.math import center
from agents.math.checks import check_shapes
from agents.settings.entropy import EntropyConfig


@runtime_checkable
class DecisionTargets(Protocol):
    """Targets of a policy gradient, some of whose decisions can be treated apart."""

    @property
    def advantages(self) -> Tensor:
        """[B, D]."""
        ...

    @property
    def mask(self) -> Tensor:
        """[B, D] bool, where there is a decision."""
        ...

    @property
    def kept(self) -> Tensor | None:
        """[B, D] 0 where a decision has no gradient, 1 elsewhere; None where all have one."""
        ...

    @property
    def restraint(self) -> Tensor | None:
        """[B, D] weights of abs(log pi/pi_old) in the loss; None where all are 0."""
        ...


Targets = TypeVar("Targets")


def covariances(logprobs: Tensor, advantages: Tensor, mask: Tensor) -> Tensor:
    """Return the part of each decision in the covariance, [B, D]; 0 outside the mask.

    (log pi - mean)(A - mean), whose mean over all decisions is the covariance   (arXiv:2505.22617,
    eq. 10)
    """
    check_shapes("covariances", 2, logprobs=logprobs, advantages=advantages, mask=mask)
    return center(logprobs, mask) * center(advantages, mask)


def mean_covariance(parts: Tensor, mask: Tensor) -> Tensor:
    """Return the covariance, float64, of the parts [B, D] of `covariances`; [R] of R runs."""
    return parts.flatten(-2).sum(dim=-1).double() / mask.flatten(-2).sum(dim=-1)


def drawn_to_leave_out(
    parts: Tensor,
    mask: Tensor,
    fraction: float,
    band: tuple[float, float],
    generator: np.random.Generator | None,
) -> Tensor:
    """Return Clip-Cov's weights of the decisions, [B, D]: 0 for those that are left out.

    Of N decisions max(1, floor(fraction N)) are drawn from those inside the band, all of them if
    there are fewer.

    Args:
        parts: [B, D] of `covariances`.
        mask: [B, D] bool.
        fraction: in (0, 1].
        band: covariances strictly between these bounds are drawn from.
        generator: draws; with None each candidate has the probability of being kept as its weight,
            which is the expectation.
    """
    low, high = band
    is_candidate = mask & (parts > low) & (parts < high)
    candidates = is_candidate.nonzero()
    count = min(max(int(fraction * int(mask.sum())), 1), len(candidates))
    weights = torch.ones_like(parts)
    if not count:
        return weights
    if generator is None:
        return weights.masked_fill(is_candidate, 1 - count / len(candidates))
    drawn = torch.from_numpy(generator.permutation(len(candidates))[:count])
    rows, columns = candidates[drawn.to(candidates.device)].unbind(1)
    weights[rows, columns] = 0.0
    return weights


def largest(parts: Tensor, mask: Tensor, fraction: float) -> Tensor:
    """Return bool [B, D], True for KL-Cov's decisions: max(1, floor(fraction N)) of N.

    Of equal covariances the earlier episode, and in it the earlier decision, comes first.

    Args:
        parts: [B, D] of `covariances`.
        mask: [B, D] bool.
        fraction: in (0, 1].
    """
    count = max(int(fraction * int(mask.sum())), 1)
    ranked = parts.masked_fill(~mask, -torch.inf).flatten()
    chosen = ranked.sort(descending=True, stable=True).indices[:count]
    is_chosen = torch.zeros_like(mask).flatten()
    is_chosen[chosen] = True
    return is_chosen.view_as(mask) & mask


def with_selection(
    targets: Targets,
    logprobs: Tensor,
    config: Any,
    generator: np.random.Generator | None,
) -> tuple[Targets, dict[str, float]]:
    """Return targets with the decisions chosen that the settings treat apart.

    Args:
        targets: of any algorithm.
        logprobs: [B, D] of the policy at the beginning of the update.
        config: the agent's settings.
        generator: of Clip-Cov's draw; None for its expectation.

    Returns:
        The targets; and ``advantage_covariance``, with ``selected_fraction`` where decisions are
        chosen. Nothing is done to targets that are not `DecisionTargets`.

    Raises:
        ValueError: if the settings choose decisions, and the targets have no place for that.
    """
    chooses = isinstance(config, EntropyConfig) and (
        config.clip_cov_fraction is not None or config.kl_cov_fraction is not None
    )
    if not isinstance(targets, DecisionTargets):
        if chooses:
            raise ValueError(
                "clip_cov_fraction and kl_cov_fraction need targets of decisions, got "
                f"{type(targets).__name__}; derive it from DecisionBatch, or leave them out"
            )
        return targets, {}
    mask = targets.mask
    parts = covariances(logprobs, targets.advantages, mask)
    figures = {"advantage_covariance": float(mean_covariance(parts, mask))}
    if not chooses:
        return targets, figures
    if config.clip_cov_fraction is not None:
        weights = drawn_to_leave_out(
            parts, mask, config.clip_cov_fraction, config.clip_cov_band, generator
        )
        selected = float((1 - weights).sum())
        changed = dataclasses.replace(targets, kept=weights)  # type: ignore[type-var]
    else:
        assert config.kl_cov_fraction is not None
        is_chosen = largest(parts, mask, config.kl_cov_fraction)
        selected = float(is_chosen.sum())
        weights = is_chosen.to(parts.dtype) * config.kl_cov_coef
        changed = dataclasses.replace(targets, restraint=weights)  # type: ignore[type-var]
    return changed, figures | {"selected_fraction": selected / int(mask.sum())}
