"""PPO and GRPO come close to the exact optimum on every family of automaton tasks."""

from __future__ import annotations

import statistics
from typing import Any

import pytest

from agents import GRPO, PPO, Agent
from rlhf_env.exact import evaluate, solve
from rlhf_env.tasks import load_task, task_families
from tests.agents.episodes import make_envs

SETTINGS: dict[type[Agent], dict[str, Any]] = {
    PPO: {"learning_rate": 0.03, "episodes_per_update": 64},
    GRPO: {"learning_rate": 0.05, "episodes_per_update": 64},
}


def share_of_optimum(kind: type[Agent], name: str, seed: int, updates: int) -> float:
    task = load_task(name, policy="timed_table")
    agent = kind(make_envs(task, 64), seed=seed, **SETTINGS[kind])
    agent.learn(64 * updates, progress=False)
    found = evaluate(task, agent.policy.model, task.kl_coef).objective
    return found / solve(task, task.kl_coef).objective


def test_grpo_learns_what_the_first_token_is_worth() -> None:
    assert share_of_optimum(GRPO, "delay-8", 0, 40) >= 0.95


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", [PPO, GRPO])
@pytest.mark.parametrize("family", task_families())
def test_the_median_of_five_reaches_the_optimum(kind: type[Agent], family: str) -> None:
    shares = [share_of_optimum(kind, f"{family}-8", seed, 300) for seed in range(5)]
    assert statistics.median(shares) >= 0.95
