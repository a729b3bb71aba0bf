"""Every response to a small task as a row of decisions, with the optimal policy's numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from agents.exact_gradients.responses import responses_of
from rlhf_env.exact import solve
from rlhf_env.exact.enumerated import enumerate_task, model_logprobs
from rlhf_env.task import Task
from rlhf_env.tasks.table import table_task


def random_task(seed: int = 3) -> Task:
    """85 responses of up to three tokens of four, with normal scores and a normal reference."""
    generator = np.random.default_rng(seed)
    logits: dict[tuple[int, ...], list[float]] = {}
    scores: dict[tuple[int, ...], float] = {}
    return table_task(
        4,
        3,
        lambda prefix: logits.setdefault(prefix, generator.normal(size=4).tolist()),
        lambda tokens: scores.setdefault(tokens, float(generator.normal())),
    )


@dataclass(frozen=True, kw_only=True)
class OptimalPaths:
    """R responses of D tokens, float64; 0 outside the mask."""

    rewards: Tensor
    """[R, D] the score at the last token."""
    log_ratio: Tensor
    """[R, D] of pi* to the reference."""
    values: Tensor
    """[R, D] V* of the state of each token."""
    mask: Tensor
    """[R, D] bool."""
    kl_coef: Tensor
    """[R] beta."""


def optimal_paths(task: Task, kl_coef: float, gamma: float) -> OptimalPaths:
    """Return every response at the soft optimum."""
    tree = enumerate_task(task, 0)
    best = solve(task, kl_coef, gamma, prompt_index=0)
    reference = dict(zip(tree.states, np.exp(model_logprobs(tree, task.reference)), strict=True))
    responses = [tuple(row.tolist()) for row in responses_of(tree)]
    shape = len(responses), max(map(len, responses))
    rewards, log_ratio, values = torch.zeros(3, *shape, dtype=torch.float64)
    mask = torch.zeros(shape, dtype=torch.bool)
    for row, response in enumerate(responses):
        for t, token in enumerate(response):
            state = response[:t]
            mask[row, t] = True
            values[row, t] = best.values[state]
            log_ratio[row, t] = np.log(best.policy[state][token] / reference[state][token])
        rewards[row, len(response) - 1] = tree.scores[row]
    beta = torch.full((len(responses),), kl_coef, dtype=torch.float64)
    return OptimalPaths(
        rewards=rewards, log_ratio=log_ratio, values=values, mask=mask, kl_coef=beta
    )
