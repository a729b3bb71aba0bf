"""The two methods that make a learning rule.

An algorithm says what to aim at (`targets`, once per rollout) and how far a policy is from it
(`loss`, on any rows of it). Sampling, optimiser, micro-batches and checkpoints are not its
business.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Protocol, TypeVar

from torch import Tensor

from agents.policy import Description
from rlhf_env.language_model import LanguageModel
from rlhf_env.rollout import Rollout

Record = TypeVar("Record")


class Algorithm(Protocol):
    """A learning rule on finished episodes."""

    def targets(self, rollout: Rollout, old: Description, reference: LanguageModel) -> Any:
        """Return what the learner aims at.

        Args:
            rollout: B episodes; ``rewards`` are what the agent is to maximise, KL included.
            old: what the policy that acted says about them.
            reference: the language model that the policy is held near.

        Returns:
            A frozen dataclass of tensors, each with B rows.
        """
        ...

    def loss(
        self, rollout: Rollout, new: Description, old: Description, targets: Any
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of some of the rows.

        Args:
            rollout: b of the episodes.
            new: what the policy being trained says about them, with gradient.
            old: what the policy that acted said.
            targets: the same rows of what `targets` returned.

        Returns:
            [b] losses, which the learner averages over the episodes of a minibatch, so that the
            gradient does not depend on how rows are split; and diagnostics, each [b], averaged
            likewise, or maximised if the name ends in "_max".
        """
        ...


def take_rows(record: Record, rows: Tensor) -> Record:
    """Return some rows of a dataclass whose tensors, and mappings of tensors, have B rows."""

    def take(value: Any) -> Any:
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
