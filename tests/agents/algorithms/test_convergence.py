"""The agents reach the exact optimum of "toy15" with settings as a user would choose them."""

from __future__ import annotations

import statistics
from typing import Any

import pytest

from agents import GRPO, GSPO, PPO, RLOO, TRPO, Agent, DrGRPO, KLPenaltyPPO, Reinforce
from rlhf_env.exact import evaluate
from rlhf_env.task import Task
from tests.agents.episodes import make_envs

OPTIMUM = 1.125295
# One step of Adam for each rollout bears a larger one than sixteen do.
ONE_STEP, MANY_STEPS = {"learning_rate": 0.05}, {"learning_rate": 0.03}
AGENTS: list[tuple[type[Agent], dict[str, Any]]] = [
    (PPO, MANY_STEPS),
    (KLPenaltyPPO, MANY_STEPS),
    (TRPO, {"max_kl": 0.02, "learning_rate": 0.05}),
    (GRPO, ONE_STEP),
    (DrGRPO, ONE_STEP),
    (GSPO, ONE_STEP),
    (RLOO, ONE_STEP),
    *(
        (Reinforce, {"baseline": name, **ONE_STEP})
        for name in ("none", "batch_mean", "value", "greedy")
    ),
]


def share_of_optimum(agent: Agent, task: Task, updates: int) -> float:
    agent.learn(32 * updates, progress=False)
    return evaluate(task, agent, kl_coef=0.5).objective / OPTIMUM


@pytest.mark.parametrize("kl_penalty", ["reference", "sampled"])
def test_grpo_comes_close_in_a_hundred_updates(toy15: Task, kl_penalty: str) -> None:
    envs = make_envs(toy15, 32, kl_penalty=kl_penalty)
    agent = GRPO(envs, learning_rate=0.05, episodes_per_update=32)
    assert share_of_optimum(agent, toy15, 100) >= 0.95


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("kind", "settings"),
    AGENTS,
    ids=[f"{kind.__name__}-{given.get('baseline', '')}".strip("-") for kind, given in AGENTS],
)
def test_the_median_of_five_reaches_the_optimum(
    toy15: Task, kind: type[Agent], settings: dict[str, Any]
) -> None:
    shares = []
    for seed in range(5):
        agent = kind(make_envs(toy15, 32), episodes_per_update=32, seed=seed, **settings)
        shares.append([share_of_optimum(agent, toy15, updates) for updates in (100, 300)])
    early, late = (statistics.median(column) for column in zip(*shares, strict=True))
    assert early >= 0.95
    assert late >= 0.975
