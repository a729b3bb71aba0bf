"""Agents of any episodes reach the optimum of "toy15", from their own and from random ones."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from agents import (
    GRPO,
    OREO,
    PCL,
    TBRM,
    Agent,
    AStarPO,
    Replay,
    ReVal,
    ShiQ,
    SoftQ,
    TrajectoryBalance,
    collect,
)
from agents.policy import Policy
from rlhf_env.exact import evaluate
from rlhf_env.rollout import Rollout
from rlhf_env.task import Task
from tests.agents.episodes import make_envs

# J* by beta.
OPTIMA = {0.5: 1.125295, 1.0: 0.499001}
AGENTS: dict[str, tuple[type[Agent], dict[str, Any]]] = {
    "pcl": (PCL, {}),
    "pcl-1": (PCL, {"path_length": 1}),
    "tb": (TrajectoryBalance, {}),
    "tb-learned": (TrajectoryBalance, {"log_z": "learned"}),
    "tbrm": (TBRM, {}),
    "reval": (ReVal, {}),
    "shiq": (ShiQ, {}),
    "oreo": (OREO, {}),
    "a_star_po": (AStarPO, {"value_samples": 4096}),
    "soft_q": (SoftQ, {"target_rate": 0.3}),
}


def agent_of(kind: type[Agent], task: Task, **settings: Any) -> Agent:
    steps = {"learning_rate": 0.05, "episodes_per_update": 32}
    return kind(make_envs(task, 32), **{**steps, **settings})


def share(agent: Agent, task: Task) -> float:
    beta = agent.kl_coef
    return evaluate(task, agent, kl_coef=beta).objective / OPTIMA[beta]


def test_a_hundred_updates_come_close(toy15: Task) -> None:
    agent = agent_of(ReVal, toy15)
    agent.learn(3200, progress=False)
    assert share(agent, toy15) >= 0.99


@pytest.mark.slow
@pytest.mark.parametrize("name", AGENTS)
def test_five_seeds_reach_the_optimum(toy15: Task, name: str) -> None:
    kind, settings = AGENTS[name]
    for seed in range(5):
        agent = agent_of(kind, toy15, seed=seed, **settings)
        agent.learn(32 * 300, progress=False)
        assert share(agent, toy15) >= 0.99


def random_episodes(task: Task, count: int, seed: int = 0) -> Rollout:
    """Responses of tokens that are as likely as any other, in groups of four."""
    model: Any = copy.deepcopy(task.reference)
    torch.nn.init.zeros_(model.get_output_embeddings().weight)
    envs = make_envs(task, 32)
    return collect(envs, Policy(model, task.vocab_size), count, seed=seed, group_size=4)


def batches(episodes: Rollout, updates: int) -> Iterator[Rollout]:
    """Whole groups, round and round."""
    for number in range(updates):
        start = 32 * number % len(episodes)
        yield episodes.take(torch.arange(start, start + 32))


@pytest.mark.slow
@pytest.mark.parametrize("name", AGENTS)
def test_random_episodes_alone_suffice(toy15: Task, name: str) -> None:
    """A thousand of them; nothing is sampled from the policy."""
    kind, settings = AGENTS[name]
    for seed in range(5):
        replay = Replay(capacity=1024, ratio=math.inf)
        replay.add(random_episodes(toy15, 1024, seed), 0, toy15.pad_id)
        agent = agent_of(kind, toy15, seed=seed, replay=replay, kl_coef=1.0, **settings)
        agent.learn(32 * 300, progress=False)
        assert share(agent, toy15) >= 0.97


@pytest.mark.slow
@pytest.mark.parametrize(("kl_coef", "most"), [(0.5, 0.85), (1.0, 0.6)])
def test_a_policy_gradient_that_takes_them_for_its_own_fails(
    toy15: Task, kl_coef: float, most: float
) -> None:
    """It goes on to the best response alone, whose KL nothing that it was paid speaks of."""
    for seed in range(5):
        agent = agent_of(GRPO, toy15, seed=seed, group_size=4, kl_coef=kl_coef)
        for rollout in batches(random_episodes(toy15, 1024, seed), 300):
            agent.update(rollout)
        assert share(agent, toy15) < most
