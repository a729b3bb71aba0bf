"""A sampler outside of the policy: prompts in, token ids and their log-probabilities out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from torch import Tensor


class SamplerError(RuntimeError):
    """A sampler did not answer, or with something that cannot be learned from."""


@dataclass(frozen=True, kw_only=True)
class SamplingRequest:
    """E responses that are wanted."""

    prompts: Sequence[Tensor]
    """The token ids of E prompts, [n] int64 each."""
    seeds: Sequence[int]
    """E integers in [0, 2**31), one for the randomness of each response."""
    max_new_tokens: int
    """T: a response ends with EOS, or after so many tokens."""
    temperature: float
    """Divides the logits; nothing else is to change the distribution."""
    eos_id: int
    """The token that ends a response, and belongs to it."""
    vocab_size: int
    """V: ids are in [0, V)."""


Completion = tuple[Sequence[int] | Tensor, Sequence[float] | Tensor]
"""A response: its m token ids, EOS included, and log mu(a|s) of each, in nats, under the
distribution that it was drawn from."""


@runtime_checkable
class Sampler(Protocol):
    """Something that samples responses, such as a client of a serving engine."""

    def sample(self, request: SamplingRequest) -> Sequence[Completion]:
        """Return the responses to ``request.prompts``, in their order."""
        ...


@runtime_checkable
class RefreshedSampler(Sampler, Protocol):
    """A sampler that can be given new weights."""

    def refresh(self, agent: Any, update: int) -> int | None:
        """Take over the agent's weights, if it is time to.

        Called once before the episodes of every update are asked for, the first and those after a
        restart included.

        Args:
            agent: has ``policy``, and ``export(folder)``.
            update: the number of updates that made its present weights.

        Returns:
            The number of updates that made the weights which sample from now on; None for those
            of ``update``.
        """
        ...
