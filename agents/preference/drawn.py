"""Comparisons of a reference's own responses, labeled by the task's reward."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from gymnasium.vector import VectorEnv

from agents.policy import Policy
from agents.preference.groups import ResponseGroup
from agents.preference.labels import sampled_wins
from agents.rollouts.collect import base_environment, collect
from rlhf_env.rollout import Rollout

# Pairs drawn at once, whatever is asked for: fewer pairs are the first of more.
BATCH = 128
# Batches in a row that may hold no two different responses.
MAX_EMPTY = 5


def drawn_pairs(
    envs: VectorEnv[Any, Any, Any], count: int, seed: Sequence[int]
) -> list[ResponseGroup]:
    """Return pairs of different responses of the reference, the better one first.

    Which one is better is drawn once for each pair, with P(a) = σ(r_a − r_b) of the task's scores
    (Bradley and Terry 1952). The pairs of a smaller count are the first of a larger one.

    Args:
        envs: a vector environment of the task, without wrappers.
        count: N, how many pairs.
        seed: of prompts, responses and labels.

    Raises:
        ValueError: if the reference hardly ever writes two different responses.
    """
    base = base_environment(envs)
    reference = Policy(base.mdp.reference.model, base.task.vocab_size)
    found: list[ResponseGroup] = []
    batch = empty = 0
    while len(found) < count:
        rollout = collect(envs, reference, 2 * BATCH, seed=(*seed, batch, 0), group_size=2)
        pairs = _labeled(rollout, np.random.default_rng([*seed, batch, 1]))
        found += pairs
        empty = 0 if pairs else empty + 1
        batch += 1
        if empty == MAX_EMPTY:
            raise ValueError(
                "the reference must write different responses to one prompt, got "
                f"{len(found)} of {count} pairs from {2 * BATCH * batch:,} responses; choose "
                "another task, or compare what another policy writes"
            )
    return found[:count]


def _labeled(rollout: Rollout, generator: np.random.Generator) -> list[ResponseGroup]:
    """Return the groups of two whose responses differ; equal ones draw a label that is unused."""
    scores = rollout.score.double().cpu()
    wins = sampled_wins(scores[::2] - scores[1::2], generator).tolist()
    prompts, responses = rollout.prompts(), rollout.responses()
    sides = zip(prompts[::2], responses[::2], responses[1::2], wins, strict=True)
    return [
        ResponseGroup.pair(prompt, *((a, b) if is_won else (b, a)))
        for prompt, a, b, is_won in sides
        if not torch.equal(a, b)
    ]
