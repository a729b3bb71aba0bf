"""The agents reach the exact optimum of "toy15" with settings as a user would choose them."""

from __future__ import annotations

import pytest

from agents import GRPO, PPO, Agent
from rlhf_env.exact import evaluate
from rlhf_env.task import Task
from tests.agents.episodes import make_envs

OPTIMUM = 1.125295


def share_of_optimum(agent: Agent, task: Task, updates: int) -> float:
    agent.learn(32 * updates, progress=False)
    return evaluate(task, agent, kl_coef=0.5).objective / OPTIMUM


@pytest.mark.parametrize("kl_penalty", ["reference", "sampled"])
def test_grpo_comes_close_in_a_hundred_updates(toy15: Task, kl_penalty: str) -> None:
    envs = make_envs(toy15, 32, kl_penalty=kl_penalty)
    agent = GRPO(envs, learning_rate=0.05, episodes_per_update=32)
    assert share_of_optimum(agent, toy15, 100) >= 0.95


@pytest.mark.slow
@pytest.mark.parametrize("kind", [PPO, GRPO])
@pytest.mark.parametrize("seed", range(5))
def test_both_reach_the_optimum(toy15: Task, kind: type[Agent], seed: int) -> None:
    envs = make_envs(toy15, 32)
    agent = kind(envs, learning_rate=0.05, episodes_per_update=32, seed=seed)
    assert share_of_optimum(agent, toy15, 300) >= 0.95
    root = evaluate(toy15, agent, kl_coef=0.5)
    assert root.kl == pytest.approx(2.501086, abs=0.6)
