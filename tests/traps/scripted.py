"""Episodes whose every token is known beforehand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from agents import collect
from rlhf_env.rollout import Rollout
from rlhf_env.task import Task
from tests.agents.episodes import make_envs

Script = Mapping[tuple[int, ...], Sequence[int]]


class ScriptedAgent:
    """Answers each prompt with the response written beside it, and says log pi = -1 of it."""

    def __init__(self, script: Script) -> None:
        self.script = script

    def act(self, observation: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        lengths = observation["attention_mask"].sum(axis=1)
        texts = [
            tuple(row[:n])
            for row, n in zip(observation["input_ids"].tolist(), lengths, strict=True)
        ]
        return np.array([self._next(text) for text in texts]), np.full(len(texts), -1.0)

    def _next(self, text: tuple[int, ...]) -> int:
        for prompt, response in self.script.items():
            said = len(text) - len(prompt)
            if text[: len(prompt)] == prompt and said < len(response):
                return response[said]
        # A row without an open episode: its action is ignored.
        return 0


def play(task: Task, script: Script, *, num_envs: int | None = None, **options: Any) -> Rollout:
    """Return one stepped episode for each prompt of a script."""
    envs = make_envs(task, num_envs or len(script), **options)
    prompts = [torch.tensor(prompt) for prompt in script]
    return collect(envs, ScriptedAgent(script), len(script), prompts=prompts, seed=0)
