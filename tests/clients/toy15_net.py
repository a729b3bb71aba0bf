"""A small policy on the plain observation of "toy15", for agents of other libraries, and its J."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rlhf_env.exact import evaluate
from rlhf_env.task import Task

BETA = 0.5
REFERENCE, BONUS_OPTIMUM = 0.039595, 1.089497
"""J of "toy15" at beta 0.5: of the reference, and of an entropy bonus in the loss (wrappers.md)."""


class OneHot(nn.Module):
    """[N, 4] ids of which the first length are in use -> [N, 12]."""

    def forward(self, input_ids: Any, attention_mask: Any) -> Tensor:
        ids, is_used = torch.as_tensor(input_ids).long(), torch.as_tensor(attention_mask).bool()
        return (nn.functional.one_hot(ids, 3) * is_used[..., None]).flatten(1).float()


class ActorCritic(nn.Module):
    """Two layers for the logits, two for the value; both begin at 0."""

    def __init__(self) -> None:
        super().__init__()
        self.features = OneHot()
        self.actor, self.critic = _head(3), _head(1)

    def forward(self, observation: Any) -> tuple[Tensor, Tensor]:
        features = self.features(observation["input_ids"], observation["attention_mask"])
        return self.actor(features), self.critic(features)[:, 0]


def _head(width: int) -> nn.Module:
    last = nn.Linear(32, width)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(12, 32), nn.Tanh(), last)


def objective(task: Task, probabilities: Callable[[dict[str, np.ndarray]], Any]) -> float:
    """The exact J of ``probabilities(observation of one row)``."""

    def policy(prefix: tuple[int, ...]) -> list[float]:
        ids = np.zeros((1, 4), dtype=np.int64)
        ids[0, : 1 + len(prefix)] = [int(task.prompts[0][0]), *prefix]
        mask = (np.arange(4) <= len(prefix)).astype(np.int8)[None]
        with torch.no_grad():
            found = probabilities({"input_ids": ids, "attention_mask": mask})
        return torch.as_tensor(found, dtype=torch.float64).flatten().tolist()

    return evaluate(task, policy, kl_coef=BETA).objective
