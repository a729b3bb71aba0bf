"""A task for rounds of feedback that takes no time: eight words, and points for one of them."""

from __future__ import annotations

import itertools

import torch

from rlhf_env.task import Task
from tests.toys import FavoriteTokenReward, tiny_llama, tiny_tokenizer

VOCAB = 8


def words_task() -> Task:
    """36 prompts of two words, responses of up to eight."""
    prompts = [torch.tensor(pair) for pair in itertools.product(range(2, VOCAB), repeat=2)]
    return Task(
        name="words",
        tokenizer=tiny_tokenizer(VOCAB),
        reference=tiny_llama(VOCAB),
        reward=FavoriteTokenReward(),
        gold=FavoriteTokenReward(),
        prompts=prompts,
        max_prompt_tokens=2,
        max_new_tokens=8,
        kl_coef=0.05,
    )


def task_without_gold() -> Task:
    """The same for people only."""
    task = words_task()
    return Task(
        name="opinions",
        tokenizer=task.tokenizer,
        reference=task.reference,
        reward=FavoriteTokenReward(),
        prompts=task.prompts,
        max_prompt_tokens=2,
        max_new_tokens=8,
    )
