"""Pairs of responses of the current policy, to be labeled by which one is better."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from gymnasium.vector import VectorEnv
from torch import Tensor

from agents import collect
from agents.policy import Policy
from agents.rollouts.collect import base_environment
from rlhf_env.rewards.protocol import Reward, score
from rlhf_env.rollout import Rollout
from rlhf_env.task import Task

# Responses at once; in fewer there may be no pair that can be shown by mere chance.
MIN_BATCH = 64
# Batches in a row that may hold no such pair.
MAX_EMPTY = 5


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two different finished responses to one prompt."""

    prompt: str
    """What was asked."""
    response_a: str
    """One response, without special tokens."""
    response_b: str
    """The other."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SampledPairs:
    """P pairs as texts and as token ids."""

    pairs: list[Pair]
    """The texts."""
    prompts: list[Tensor]
    """P vectors of token ids."""
    a: list[Tensor]
    """P vectors of token ids, the end token included."""
    b: list[Tensor]
    """P vectors of token ids, the end token included."""


def sample_pairs(
    envs: VectorEnv[Any, Any, Any], policy: Policy, count: int, seed: Sequence[int]
) -> SampledPairs:
    """Draw prompts, and two responses to each, until there are enough pairs to show.

    Truncated or empty responses, and pairs of equal ones, are not shown.

    Args:
        envs: a vector environment of the task.
        policy: writes both responses.
        count: how many pairs.
        seed: of prompts and tokens.

    Raises:
        ValueError: if the policy hardly ever writes a pair that can be shown.
    """
    task = base_environment(envs).task
    found = SampledPairs(pairs=[], prompts=[], a=[], b=[])
    size = max(2 * count, MIN_BATCH)
    empty = batch = 0
    while len(found.pairs) < count:
        rollout = collect(envs, policy, size, seed=(*seed, batch), group_size=2)
        before = len(found.pairs)
        _add_pairs(found, rollout, task)
        empty = empty + 1 if len(found.pairs) == before else 0
        if empty == MAX_EMPTY:
            raise ValueError(
                f"the policy must write pairs of different finished responses, got {before} of "
                f"{count} pairs from {size * (batch + 1):,} responses; raise "
                "--missing-eos-penalty or --kl-coef in a new folder"
            )
        batch += 1
    return SampledPairs(
        pairs=found.pairs[:count],
        prompts=found.prompts[:count],
        a=found.a[:count],
        b=found.b[:count],
    )


def gold_preferences(
    sampled: SampledPairs, gold: Reward, temperature: float, generator: torch.Generator
) -> list[str]:
    """Return the preference in each pair, "a", "b" or "tie", by the gold reward with noise.

    P(a) = σ((gold(a) − gold(b)) / temperature)   (Bradley and Terry 1952)

    Args:
        sampled: P pairs.
        gold: the true objective.
        temperature: in units of the gold score; 0 always prefers the better, and equals tie.
        generator: draws the labels.
    """
    margins = score(gold, sampled.prompts, sampled.a) - score(gold, sampled.prompts, sampled.b)
    if temperature == 0.0:
        signs = margins.sign().int().tolist()
        return [{1: "a", -1: "b", 0: "tie"}[sign] for sign in signs]
    draws = torch.rand(len(margins), generator=generator)
    return ["a" if wins else "b" for wins in draws < torch.sigmoid(margins / temperature)]


def _add_pairs(found: SampledPairs, rollout: Rollout, task: Task) -> None:
    """Append the pairs of a rollout's groups of two that can be shown."""
    prompts, responses = rollout.prompts(), rollout.responses()
    for row in range(0, len(rollout), 2):
        a, b = responses[row], responses[row + 1]
        texts = task.decode(a), task.decode(b)
        is_finished = a[-1] == task.eos_id and b[-1] == task.eos_id
        if is_finished and all(text.strip() for text in texts) and texts[0] != texts[1]:
            prompt = prompts[row]
            pair = Pair(prompt=task.decode(prompt), response_a=texts[0], response_b=texts[1])
            found.pairs.append(pair)
            found.prompts.append(prompt)
            found.a.append(a)
            found.b.append(b)
