"""Asking a sampler outside of the policy, and checking what it answers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from agents.processes.exchange import on_first
from agents.samplers.protocol import (
    Completion,
    RefreshedSampler,
    Sampler,
    SamplerError,
    SamplingRequest,
)
from agents.settings.behavior import Behavior

# What rounding may add to the logarithm of a probability of 1.
_ROUNDING = 1e-4


class SamplerWeights:
    """Which weights a sampler has."""

    def __init__(self, sampler: Sampler) -> None:
        """Take a sampler; as long as nothing refreshes it, it has those of the beginning."""
        self._sampler = sampler
        self._asked: int | None = None
        self._served = 0

    def refresh(self, agent: Any, update: int) -> None:
        """Offer the sampler the weights of an update, once.

        Raises:
            SamplerError: if it answers with something else than an update's number.
        """
        if self._asked == update or not isinstance(self._sampler, RefreshedSampler):
            return
        sampler = self._sampler
        served = on_first(lambda: sampler.refresh(agent, update))
        known = update if served is None else served
        if isinstance(known, bool) or not isinstance(known, int) or not 0 <= known <= update:
            raise SamplerError(
                "refresh(agent, update) must return the number of updates that made the weights "
                f"now in use, 0 to {update}, or None, got {served!r}"
            )
        self._asked, self._served = update, known

    def age(self, update: int) -> int:
        """Return how many updates old the sampler's weights are."""
        return update - self._served


def check_sampler(sampler: Any, agent: str, behavior: Behavior, *, is_asked: bool) -> None:
    """Raise ValueError unless a sampler can draw an agent's episodes.

    Args:
        sampler: what was given.
        agent: the name of its class.
        behavior: the settings of the agent's own sampler, which this one replaces.
        is_asked: whether agents of this class sample responses with their policy.
    """
    if not is_asked:
        raise ValueError(
            f"{agent} does not sample its episodes with the policy alone, got a sampler; leave "
            "sampler out"
        )
    if isinstance(sampler, type) or not isinstance(sampler, Sampler):
        raise ValueError(
            "sampler must be an object with sample(request), see agents.samplers.protocol, got "
            f"{sampler!r:.80}"
        )
    if behavior.names:
        raise ValueError(
            f"sampler draws the episodes itself, got {behavior.names[0]} too, a setting of the "
            "built-in sampler; leave one of the two out"
        )


@dataclass(frozen=True, kw_only=True)
class Responses:
    """E finished responses with their prompts."""

    tokens: Tensor
    """[E, L] prompt and response, padded on the right."""
    starts: Tensor
    """[E] prompt lengths."""
    lengths: Tensor
    """[E] prompt and response together."""
    logprobs: Tensor
    """[E, L] of the response's tokens under the sampler; 0 elsewhere."""


def ask(sampler: Sampler, request: SamplingRequest, width: int, pad_id: int) -> Responses:
    """Return a sampler's responses, on the CPU.

    Args:
        sampler: is asked once.
        request: for E responses.
        width: L, room for the longest prompt and response.
        pad_id: fills up the rows.

    Raises:
        SamplerError: if the answer is not E finished responses of known tokens, each with a
            log-probability.
    """
    answer = sampler.sample(request)
    count = len(request.prompts)
    if isinstance(answer, str | bytes) or not hasattr(answer, "__len__") or len(answer) != count:
        got = len(answer) if hasattr(answer, "__len__") else type(answer).__name__
        raise SamplerError(f"the sampler must return {count} responses, one a prompt, got {got}")
    tokens = torch.full((count, width), pad_id, dtype=torch.int64)
    logprobs = torch.zeros(count, width)
    starts, lengths = torch.zeros(2, count, dtype=torch.int64)
    for episode, (prompt, completion) in enumerate(zip(request.prompts, answer, strict=True)):
        ids, told = _checked(completion, request, episode)
        starts[episode] = begin = len(prompt)
        lengths[episode] = end = begin + len(ids)
        tokens[episode, :begin], tokens[episode, begin:end] = prompt.cpu(), ids
        logprobs[episode, begin:end] = told
    return Responses(tokens=tokens, starts=starts, lengths=lengths, logprobs=logprobs)


def _checked(completion: Completion, request: SamplingRequest, episode: int) -> tuple[Any, Any]:
    """Return ids [m] int64 and log-probabilities [m] float32 of a response that is sound."""
    name = f"response {episode} of the sampler"
    try:
        ids, told = completion
        ids = torch.as_tensor(ids).detach().cpu()
        told = torch.as_tensor(told, dtype=torch.float32).detach().cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise SamplerError(
            f"{name} must be a pair of token ids and log-probabilities, got {completion!r:.80}"
        ) from error
    if ids.is_floating_point() and len(ids):
        raise SamplerError(f"{name} must have integer token ids, got {ids.dtype}")
    if ids.dim() != 1 or not len(ids) or told.shape != ids.shape:
        raise SamplerError(
            f"{name} must have at least one token id and a log-probability for each, got shapes "
            f"{list(ids.shape)} and {list(told.shape)}"
        )
    _check_ids(name, ids.tolist(), request)
    bad = [p for p in told.tolist() if not -math.inf < p <= _ROUNDING]
    if bad:
        raise SamplerError(
            f"{name} must have log-probabilities that are finite and <= 0, got {bad[0]}; they are "
            "those of the tokens that were drawn, in nats"
        )
    return ids.long(), told


def _check_ids(name: str, ids: list[int], request: SamplingRequest) -> None:
    horizon, eos = request.max_new_tokens, request.eos_id
    outside = [token for token in ids if not 0 <= token < request.vocab_size]
    if outside:
        raise SamplerError(
            f"{name} must hold ids below {request.vocab_size}, got {outside[0]}; the sampler has "
            "another vocabulary, or pads it: serve the task's own model and tokenizer"
        )
    if eos in ids[:-1]:
        raise SamplerError(
            f"{name} must end at its first EOS, {eos}, got {len(ids) - ids.index(eos) - 1} tokens "
            "after it; make the sampler stop there"
        )
    if len(ids) > horizon:
        raise SamplerError(f"{name} must have at most {horizon} tokens, got {len(ids)}")
    if ids[-1] != eos and len(ids) < horizon:
        raise SamplerError(
            f"{name} must end with EOS, {eos}, or have {horizon} tokens, got {len(ids)} that end "
            f"with {ids[-1]}; include the stop token and its log-probability, and give the sampler "
            "room for prompt and response"
        )
