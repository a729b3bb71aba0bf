"""The two methods that make a learning rule, and the checks on what they return.

An algorithm computes the targets of a rollout (`targets`, once) and the loss of a policy against
them (`loss`, on any of its rows). Sampling, optimizer, micro-batches and checkpoints are handled
elsewhere.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Protocol, TypeVar, runtime_checkable

from torch import Tensor

from agents.policy import PolicyOutput
from agents.rollouts.contract import check_methods
from rlhf_env.engine.language_model import LanguageModel
from rlhf_env.rollout import Rollout

Record = TypeVar("Record")


class Algorithm(Protocol):
    """A learning rule on finished episodes.

    One that is also a `SamplerOnlyAlgorithm` can save the pass that computes ``old``.
    """

    def targets(self, rollout: Rollout, old: PolicyOutput, reference: LanguageModel) -> Any:
        """Return the targets of a rollout.

        Args:
            rollout: B episodes; ``rewards`` are what the agent is to maximize, KL included.
            old: outputs of the policy that acted.
            reference: the language model that the policy is kept close to.

        Returns:
            A frozen dataclass of tensors, each with B rows.
        """
        ...

    def loss(
        self, rollout: Rollout, new: PolicyOutput, old: PolicyOutput, targets: Any
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of some of the rows.

        Args:
            rollout: b of the episodes.
            new: outputs of the policy being trained, with gradient.
            old: outputs of the policy that acted.
            targets: the same rows of what `targets` returned.

        Returns:
            [b] losses, which the learner averages over the episodes of a minibatch, so that the
            gradient does not depend on how rows are split; and diagnostics, each [b], averaged
            likewise, or maximized if the name ends in "_max".
        """
        ...


@runtime_checkable
class SamplerOnlyAlgorithm(Protocol):
    """A learning rule that may need nothing of ``old`` but the sampler's log-probabilities."""

    @property
    def reads_old(self) -> bool:
        """Whether it reads more; if False, ``old`` has the sampler's log-probabilities and 0."""
        ...


@runtime_checkable
class StatefulAlgorithm(Protocol):
    """A learning rule with state of its own that changes from update to update."""

    def state(self) -> dict[str, float]:
        """Return what a checkpoint must keep."""
        ...

    def load_state(self, state: dict[str, float]) -> None:
        """Restore what `state` returned."""
        ...


def reads_old(algorithm: Algorithm) -> bool:
    """Return whether a learning rule needs a pass of the policy that acted over the rollout."""
    return algorithm.reads_old if isinstance(algorithm, SamplerOnlyAlgorithm) else True


def check_algorithm(algorithm: Any) -> None:
    """Raise ValueError unless an algorithm is an object with both methods."""
    example = "targets(rollout, old, reference) and loss(rollout, new, old, targets)"
    check_methods("algorithm", algorithm, ("targets", "loss"), example)


def check_targets(targets: Any, count: int) -> None:
    """Raise ValueError unless targets are a dataclass, and its tensors have B rows."""
    if isinstance(targets, type) or not dataclasses.is_dataclass(targets):
        raise ValueError(
            f"targets() must return a dataclass of tensors with {count} rows, got "
            f"{type(targets).__name__}; write @dataclass(frozen=True) over the class of its fields"
        )
    for field in dataclasses.fields(targets):
        value = getattr(targets, field.name)
        for part in value.values() if isinstance(value, Mapping) else [value]:
            if isinstance(part, Tensor) and part.shape[:1] != (count,):
                raise ValueError(
                    f"targets() must return tensors with a row for each of {count} episodes, got "
                    f"{field.name} of shape {list(part.shape)}; expand it, or keep what is not "
                    "per episode in the algorithm"
                )


def checked_loss(answer: Any, count: int) -> tuple[Tensor, Mapping[str, Tensor]]:
    """Return the losses and diagnostics that ``loss`` returned.

    Args:
        answer: what ``loss`` returned for b episodes.
        count: b.

    Raises:
        ValueError: if they are not a pair, have other shapes, or the losses have no gradient.
    """
    pair = answer if isinstance(answer, tuple | list) and len(answer) == 2 else (None, None)
    losses, metrics = pair
    if not isinstance(losses, Tensor) or not isinstance(metrics, Mapping):
        raise ValueError(
            f"loss() must return a pair of losses [{count}] and a dictionary of diagnostics, got "
            f"{_kinds(answer)}; write return losses, {{}} if there is nothing to log"
        )
    _check_per_episode("losses", losses, count)
    for name, values in metrics.items():
        if not isinstance(name, str):
            raise ValueError(f"loss() must name its diagnostics by texts, got {name!r}")
        _check_per_episode(name, values, count)
    if not losses.requires_grad:
        raise ValueError(
            "loss() must return losses with a gradient, got some without; compute them from new, "
            "such as new.logprobs, without detach() or no_grad()"
        )
    return losses, metrics


def check_finite(losses: Tensor, rollout: Rollout, new: PolicyOutput, episodes: Tensor) -> None:
    """Raise ValueError if a loss is not finite, naming the episode and the cause.

    Args:
        losses: [b].
        rollout: the b episodes.
        new: outputs of the policy being trained.
        episodes: [b] their numbers.
    """
    values = losses.detach()
    is_bad = ~values.isfinite()
    if not is_bad.any():
        return
    row = int(is_bad.nonzero()[0])
    if not new.logprobs[row].isfinite().all():
        cause = "the policy's log-probabilities are not finite: lower learning_rate"
    elif not rollout.rewards[row].isfinite().all():
        cause = "its rewards are not finite: look at the wrappers that pay them"
    else:
        cause = "look at what targets() and loss() make of that episode"
    raise ValueError(
        f"the loss of episode {int(episodes[row])} is {float(values[row])}, expected a finite "
        f"number; the weights are unchanged: {cause}"
    )


def take_rows(record: Record, rows: Tensor) -> Record:
    """Return some rows of a dataclass whose tensors, and mappings of tensors, have B rows."""

    def take(value: Any) -> Any:
        if value is None:
            return None
        if isinstance(value, Tensor):
            return value[rows]
        if not isinstance(value, Mapping):
            raise ValueError(
                f"{type(record).__name__} must hold tensors of B rows, got "
                f"{type(value).__name__}; keep what is not per episode in the algorithm"
            )
        return {name: part[rows] for name, part in value.items()}

    fields = dataclasses.fields(record)  # type: ignore[arg-type]
    taken = {field.name: take(getattr(record, field.name)) for field in fields}
    return dataclasses.replace(record, **taken)  # type: ignore[type-var]


def _check_per_episode(name: str, values: Any, count: int) -> None:
    """Refuse losses that are already averaged: the gradient would depend on how rows are split."""
    if not isinstance(values, Tensor) or values.shape != (count,):
        got = list(values.shape) if isinstance(values, Tensor) else type(values).__name__
        raise ValueError(
            f"loss() must return {name} of one number per episode, [{count}], "
            f"got {got}; leave the mean over episodes to the learner"
        )


def _kinds(answer: Any) -> str:
    if isinstance(answer, tuple | list):
        return f"a {type(answer).__name__} of {[type(part).__name__ for part in answer[:4]]}"
    return type(answer).__name__
