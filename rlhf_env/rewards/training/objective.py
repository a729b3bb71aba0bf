"""What a training loop asks of an objective. The objectives are in the modules beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from torch import Tensor

from rlhf_env.rewards.feedback.records import Record
from rlhf_env.rewards.training.elements import Batch, Element

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How much of the feedback the scores reproduce."""

    agreeing: float
    """Judgments, such as votes or thumbs, that the scores agree with; half for equal scores."""
    total: float
    """Judgments that take a side."""

    def __add__(self, other: Agreement) -> Agreement:
        """Return both together."""
        return Agreement(agreeing=self.agreeing + other.agreeing, total=self.total + other.total)

    @property
    def share(self) -> float | None:
        """The accuracy; None if no judgment takes a side."""
        return self.agreeing / self.total if self.total else None


class Objective(Protocol):
    """What the scores are asked to explain."""

    def target(self, record: Record, tokenizer: PreTrainedTokenizerBase) -> Any:
        """Return the feedback of a record, as tensors; ``tokenizer`` is that of its texts."""
        ...

    def losses(self, scores: Tensor, batch: Batch, elements: Sequence[Element[Any]]) -> Tensor:
        """Return one loss per element, [E], of the scores [N, L] at every token of a batch."""
        ...

    def agreement(
        self, scores: Tensor, batch: Batch, elements: Sequence[Element[Any]]
    ) -> Agreement:
        """Return how much of the elements' judgments the scores [N, L] reproduce."""
        ...
