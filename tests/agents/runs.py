"""Short runs, and what to compare of them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from agents import PPO, Agent
from rlhf_env.task import Task
from tests.agents.episodes import make_envs
from tests.toys import tiny_gpt2_task


def make_agent(kind: type[Agent] = PPO, task: Task | None = None, **settings: Any) -> Agent:
    small = {"episodes_per_update": 8, "learning_rate": 0.01, "epochs": 2, "minibatches": 2}
    settings = {**small, **settings}
    return kind(make_envs(task or tiny_gpt2_task()), **settings)


def without_time(rows: list[dict[str, float]]) -> list[dict[str, float]]:
    return [{k: v for k, v in row.items() if k != "tokens_per_second"} for row in rows]


def weights(agent: Agent) -> list[Tensor]:
    return [p.detach().clone() for p in agent.policy.parameters()]


def assert_equal(left: list[Tensor], right: list[Tensor]) -> None:
    assert all(torch.equal(a, b) for a, b in zip(left, right, strict=True))
