"""Automaton tasks for tests: random ones, and policies that are not their references."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rlhf_env.rewards.protocol import Reward
from rlhf_env.task import Task
from rlhf_env.tasks import automaton_task
from rlhf_env.tasks.automaton_lm import AutomatonLM


def random_automaton(
    seed: int, *, num_states: int = 4, vocab_size: int = 3, horizon: int = 4, **settings: Any
) -> Task:
    """A task whose moves, logits and scores are drawn."""
    random = np.random.default_rng(seed)
    shape = num_states, vocab_size
    return automaton_task(
        random.integers(0, num_states, shape),
        random.normal(0.0, 1.5, shape),
        random.normal(0.0, 1.0, num_states),
        horizon,
        **settings,
    )


def as_plain_task(task: Task) -> Task:
    """The same task without its automaton, so that it is enumerated."""
    return dataclasses.replace(task, reward=_Plain(task.reward))


def moved_policy(task: Task, seed: int = 0, size: float = 0.5) -> AutomatonLM:
    """A policy that is not the reference."""
    policy = copy.deepcopy(task.reference)
    assert isinstance(policy, AutomatonLM)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(size * torch.randn(parameter.shape, generator=generator))
    return policy.requires_grad_(True)


class _Plain:
    def __init__(self, reward: Reward) -> None:
        self._reward = reward

    def __call__(self, prompts: list[Tensor], responses: list[Tensor]) -> Tensor:
        return self._reward(prompts, responses)
