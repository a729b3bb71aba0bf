"""Small conversations: a user who draws what to say, and one with nothing to say."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rlhf_env.task import Task
from tests.toys import tiny_llama_task

COMMA = 7
"""Ends a turn in some of them."""


def chatty(
    prompts: list[Tensor], histories: list[Tensor], generators: list[np.random.Generator]
) -> list[Tensor | None]:
    """Say up to three drawn tokens; end the conversation in one case of eight."""
    answers: list[Tensor | None] = []
    for generator in generators:
        if generator.random() < 0.125:
            answers.append(None)
        else:
            said = generator.integers(2, 32, size=generator.integers(0, 4))
            answers.append(torch.from_numpy(said))
    return answers


def silent(
    prompts: list[Tensor], histories: list[Tensor], generators: list[np.random.Generator]
) -> list[Tensor | None]:
    """End the conversation after the first turn."""
    return [None] * len(prompts)


def talk_task(respond: Any = chatty, *, horizon: int = 12, **fields: Any) -> Task:
    """A conversation about the tiny decoder's favorite token."""
    given: dict[str, Any] = {"max_environment_tokens": 40, "end_of_turn_id": COMMA, **fields}
    task = tiny_llama_task(horizon=horizon)
    return dataclasses.replace(task, name="talk", respond=respond, **given)
