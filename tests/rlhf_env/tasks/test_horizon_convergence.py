"""Agents find the optimum of every family at its shortest horizon; the truth is exact."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import pytest

from agents import GRPO, PPO, Agent
from rlhf_env import exact, load_task

FAMILIES = ["chain-8", "delay-8", "needles-8", "lock-8", "brackets-8"]
SETTINGS: dict[type[Agent], tuple[int, dict[str, Any]]] = {
    GRPO: (300, {"learning_rate": 0.05, "group_size": 16}),
    PPO: (200, {"learning_rate": 0.03}),
}
# What is trainable is one row of logits per time and state, which holds the exact optimum.
POLICY = "timed_table"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:update")
@pytest.mark.parametrize("kind", SETTINGS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("family", FAMILIES)
def test_agents_reach_the_optimum(family: str, kind: type[Agent]) -> None:
    updates, settings = SETTINGS[kind]
    reached = []
    for seed in range(5):
        task = load_task(family, policy=POLICY)
        envs = gym.make_vec("RLHF-v0", num_envs=64, task=task)
        agent = kind(envs, episodes_per_update=64, seed=seed, **settings)
        agent.learn(64 * updates, progress=False)
        best = exact.solve(task, task.kl_coef).objective
        model = agent.policy.model
        reached.append(exact.evaluate(task, model, task.kl_coef).objective / best)  # type: ignore[arg-type]
    assert min(reached) >= 0.95, reached
