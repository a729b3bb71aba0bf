"""A policy whose logits are perturbed, rounded or truncated when it samples.

In this order: noise or rounding of the logits, as a serving engine computes them; the temperature;
top-k; top-p of what top-k left. ``Rollout.logprobs`` are those of the result, renormalized.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from agents.policy import Policy
from agents.settings.behavior import BF16, Behavior
from rlhf_env.engine.derived import DerivedEngine
from rlhf_env.engine.engine import Engine
from rlhf_env.engine.language_model import LanguageModel


def played_by(policy: Policy, lm: LanguageModel) -> Policy:
    """Return a policy with another language model, for sampling; everything else is shared."""
    other = copy.copy(policy)
    other.lm = lm
    return other


def distorted(policy: Policy, behavior: Behavior, key: Sequence[int]) -> Policy:
    """Return the policy as a sampler sees it; it is for sampling only.

    Args:
        policy: whose weights and temperature are shared.
        behavior: its noise and truncation.
        key: integers that the noise depends on, besides the state.
    """
    lm = copy.copy(policy.lm)
    lm.engine = DistortedEngine(policy.lm.engine, behavior, policy.temperature, key)
    return played_by(policy, lm)


class DistortedEngine(DerivedEngine):
    """The logits of another engine, distorted; see the module."""

    def __init__(
        self, engine: Engine, behavior: Behavior, temperature: float, key: Sequence[int]
    ) -> None:
        """Take an engine, and what is done to its logits.

        Args:
            engine: whose logits they are.
            behavior: noise, top-k and top-p.
            temperature: by which the caller will divide the logits; top-p depends on it.
            key: of the noise.
        """
        super().__init__(engine)
        self.behavior = behavior
        self.temperature = temperature
        self.key = tuple(key)

    @torch.no_grad()
    def logits_view(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Return the distorted logits, [N, V]; -inf where a token is never chosen."""
        logits, behavior = self.engines[0].logits_view(tokens, lengths), self.behavior
        if behavior.noise == BF16:
            logits = logits.bfloat16().float()
        elif behavior.noise:
            noise = state_noise(tokens, lengths, logits.shape[1], self.key)
            logits = logits + float(behavior.noise) * noise
        return truncated_logits(logits, self.temperature, behavior.top_k, behavior.top_p)


def state_noise(tokens: Tensor, lengths: Tensor, size: int, key: Sequence[int]) -> Tensor:
    """Return standard normal numbers that depend on the state and a key only, [N, size] float32.

    The same text gets the same numbers in any row, batch or process, so that they are a
    distribution's and not a draw's.

    Args:
        tokens: [N, L] int64, padded on the right.
        lengths: [N] how many of them are the state.
        size: numbers for each state.
        key: integers below 2**63.
    """
    salt = hashlib.blake2b(np.array(key, dtype=np.int64).tobytes(), digest_size=16).digest()
    rows, counts = tokens.cpu().numpy(), lengths.tolist()
    noise = np.empty((len(rows), size), dtype=np.float32)
    for out, row, count in zip(noise, rows, counts, strict=True):
        state = hashlib.blake2b(row[:count].tobytes(), digest_size=16, salt=salt).digest()
        generator = np.random.Generator(np.random.Philox(key=int.from_bytes(state, "little")))
        generator.standard_normal(out=out, dtype=np.float32)
    return torch.from_numpy(noise).to(tokens.device)


def truncated_logits(
    logits: Tensor, temperature: float, top_k: int | None, top_p: float | None
) -> Tensor:
    """Return logits that are -inf outside of the most likely tokens.

    Args:
        logits: [N, V].
        temperature: divides the logits before probabilities are added up.
        top_k: how many tokens are left; all when None. Of equal ones the first.
        top_p: the least probability that those left have together, after top-k; all when None.
    """
    if top_k is None and top_p is None:
        return logits
    ordered, order = logits.sort(dim=-1, descending=True, stable=True)
    if top_k is not None:
        ordered = ordered.clone()
        ordered[:, top_k:] = -torch.inf
    is_kept = ordered > -torch.inf
    if top_p is not None:
        chances = (ordered / temperature).softmax(dim=-1)
        # What is more likely has less than top_p; so at least one token is kept.
        is_kept &= chances.cumsum(dim=-1) - chances < top_p
    return logits.masked_fill(~torch.empty_like(is_kept).scatter_(1, order, is_kept), -torch.inf)
