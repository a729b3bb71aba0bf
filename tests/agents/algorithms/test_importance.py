"""Weights of episodes that another policy sampled: literals, and what the correction is for."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from agents import GRPO, PPO, RLOO, TRPO, Agent, KLPenaltyPPO, Reinforce, RLOOConfig
from agents.algorithms.importance import importance_weights
from agents.exact_gradients import exact_gradients
from rlhf_env.task import Task
from tests.agents.episodes import make_envs
from tests.toys import theta_policy

ACTED = torch.tensor([[0.5, 0.4, 0.3], [0.2, 0.9, 1.0]]).log()
SAMPLED = torch.tensor([[0.25, 0.5, 0.6], [0.4, 0.9, 1.0]]).log()
MASK = torch.tensor([[True, True, True], [True, True, False]])


def weights(kind: str, **limits: Any) -> list[list[float]]:
    config = RLOOConfig(importance=kind, **limits)
    found = importance_weights(ACTED, SAMPLED, MASK, config)
    return [[round(w, 6) for w in row] for row in found.weights.tolist()]


def test_each_kind() -> None:
    """Ratios 2, 4/5 and 1/2 in the first episode, 1/2 and 1 in the second."""
    assert weights("token") == [[2.0, 0.8, 0.5], [0.5, 1.0, 0.0]]
    assert weights("sequence") == [[0.8, 0.8, 0.8], [0.5, 0.5, 0.0]]
    cube, square = round(0.8 ** (1 / 3), 6), round(math.sqrt(0.5), 6)
    assert weights("geometric") == [[cube] * 3, [square, square, 0.0]]


def test_limits() -> None:
    assert weights("token", importance_cap=1.5) == [[1.5, 0.8, 0.5], [0.5, 1.0, 0.0]]
    assert weights("token", importance_band=(0.6, 1.5)) == [[0.0, 0.8, 0.0], [0.0, 1.0, 0.0]]
    assert weights("sequence", importance_band=(0.6, 1.5)) == [[0.8] * 3, [0.0] * 3]


def agent_of(kind: type[Agent], task: Task, **settings: Any) -> Agent:
    settings = {"aggregation": "sum", "episodes_per_update": 16, **settings}
    return kind(make_envs(task, kl_coef=0.5), policy=theta_policy(task), **settings)


AGENTS: list[tuple[type[Agent], dict[str, Any]]] = [
    (Reinforce, {"baseline": "none"}),
    (RLOO, {"group_size": 2}),
    (PPO, {"gae_lambda": 1.0, "whiten_advantages": False, "value_coef": 0.0}),
]


@pytest.mark.parametrize(("kind", "settings"), AGENTS)
def test_whole_responses_are_unbiased_and_all_else_is_not(
    toy15: Task, kind: type[Agent], settings: dict[str, Any]
) -> None:
    """The reference samples, another policy learns; the KL is the learner's."""
    bias = {
        name: exact_gradients(
            agent_of(kind, toy15, **settings, **corrections), behavior=toy15.reference
        ).relative_bias
        for name, corrections in {
            "none": {},
            "token": {"importance": "token"},
            "sequence": {"importance": "sequence"},
            "geometric": {"importance": "geometric"},
            "truncated": {"importance": "sequence", "importance_cap": 1.0},
            "masked": {"importance": "sequence", "importance_band": (0.9, 1.1)},
        }.items()
    }
    assert bias.pop("sequence") <= 1e-6
    assert min(bias.values()) > 1e-3, bias
    assert bias["token"] < bias["none"]


@pytest.mark.parametrize("kind", [Reinforce, RLOO, GRPO, PPO, KLPenaltyPPO, TRPO])
@pytest.mark.parametrize("importance", ["token", "sequence", "geometric"])
def test_nothing_changes_where_the_policy_itself_sampled(
    toy15: Task, kind: type[Agent], importance: str
) -> None:
    tables = []
    for corrections in ({}, {"importance": importance}):
        agent = agent_of(kind, toy15, **corrections)
        agent.update(agent.collect())
        (table,) = agent.policy.model.parameters()
        tables.append(table.detach())
    assert torch.allclose(*tables, atol=1e-6)


@pytest.mark.parametrize("kind", [Reinforce, RLOO, GRPO, PPO, KLPenaltyPPO, TRPO])
def test_every_agent_weighs_foreign_episodes(toy15: Task, kind: type[Agent]) -> None:
    norms = []
    for corrections in ({}, {"importance": "token", "importance_cap": 2.0}):
        agent = agent_of(kind, toy15, **corrections)
        rollout = agent.collect()
        is_foreign = rollout.is_action & (torch.arange(16) % 2 == 1)[:, None]
        foreign = rollout.replace(logprobs=rollout.logprobs - 0.3 * is_foreign)
        metrics = agent.update(foreign)
        norms.append(metrics["gradient_norm"])
    assert metrics["importance_max"] == pytest.approx(math.exp(0.3), abs=1e-4)
    assert metrics["importance_limited"] == 0.0
    assert abs(norms[1] / norms[0] - 1) > 0.01


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"importance": "tokens"}, "importance"),
        ({"importance_cap": 2.0}, 'got 2.0 with importance="none"'),
        ({"importance": "token", "importance_cap": 0.5}, "importance_cap"),
        ({"importance": "token", "importance_band": (2.0, 3.0)}, "two numbers around 1"),
        ({"importance": "token", "importance_band": 2.0}, "two numbers around 1"),
    ],
)
def test_bad_settings(toy15: Task, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        agent_of(RLOO, toy15, **settings)


def test_saved_settings_are_the_same(toy15: Task, tmp_path: Any) -> None:
    agent = agent_of(RLOO, toy15, importance="token", importance_band=(0.5, 2.0))
    agent.save(tmp_path / "checkpoint")
    again = RLOO.load(tmp_path / "checkpoint", make_envs(toy15, kl_coef=0.5))
    assert again.config == agent.config
