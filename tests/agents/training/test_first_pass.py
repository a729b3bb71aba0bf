"""The first optimizer step goes on from the pass that described the rollout: the same result."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from agents import GRPO, PPO, KLPenaltyPPO, Reinforce
from agents.agent import Agent
from agents.training.learner import Learner
from tests.agents.episodes import make_envs
from tests.toys import tiny_gpt2_task, tiny_llama_task

AGENTS: dict[str, tuple[type[Agent], dict[str, Any]]] = {
    "PPO": (PPO, {"minibatches": 1}),
    "PPO, one step": (PPO, {"minibatches": 1, "epochs": 1}),
    "separate critic": (PPO, {"minibatches": 1, "critic": "separate"}),
    "KLPenaltyPPO": (KLPenaltyPPO, {"minibatches": 1}),
    "GRPO": (GRPO, {"epochs": 3, "group_size": 4}),
    "Reinforce": (Reinforce, {"baseline": "value"}),
}


def make_agent(name: str) -> Agent:
    kind, settings = AGENTS[name]
    return kind(make_envs(tiny_gpt2_task(dropout=0.2), 8), episodes_per_update=8, **settings)


@contextmanager
def passes(agent: Agent) -> Iterator[list[int]]:
    """How many episodes each pass of the policy over finished texts describes."""
    seen: list[int] = []
    original = agent.policy.evaluate_tokens

    def evaluate_tokens(tokens: Tensor, is_action: Tensor) -> Any:
        seen.append(len(tokens))
        return original(tokens, is_action)

    agent.policy.evaluate_tokens = evaluate_tokens  # type: ignore[method-assign]
    yield seen
    del agent.policy.evaluate_tokens


def learned(agent: Agent) -> tuple[Tensor, dict[str, float]]:
    metrics = agent.update(agent.collect())
    return torch.cat([p.detach().flatten() for p in agent.policy.parameters()]), metrics


@pytest.mark.parametrize("name", AGENTS)
def test_a_pass_of_its_own_has_the_same_result(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    weights, metrics = learned(make_agent(name))
    original = Learner.evaluate_rollout
    monkeypatch.setattr(Learner, "evaluate_rollout", lambda *given: (original(*given)[0], None))
    apart, expected = learned(make_agent(name))
    torch.testing.assert_close(weights, apart, atol=1e-6, rtol=1e-5)
    assert metrics == pytest.approx(expected, abs=1e-5, rel=1e-4)


@pytest.mark.parametrize(("minibatches", "expected"), [(1, [8] * 4), (2, [8] + [4] * 8)])
def test_one_pass_less_where_it_is_the_same(minibatches: int, expected: list[int]) -> None:
    """Four epochs: the first needs no pass of its own unless it is split."""
    agent = PPO(
        make_envs(tiny_llama_task(), 8), episodes_per_update=8, epochs=4, minibatches=minibatches
    )
    for _ in range(2):
        rollout = agent.collect()
        with passes(agent) as seen:
            agent.update(rollout)
        assert seen == expected


def test_without_the_pass_the_learner_runs_its_own() -> None:
    agent = PPO(make_envs(tiny_llama_task(), 8), episodes_per_update=8, minibatches=1, epochs=1)
    rollout = agent.collect()
    old, first_pass = agent.learner.evaluate_rollout(rollout)
    assert first_pass is not None
    targets = agent.learner.algorithm.targets(rollout, old, agent.base.mdp.reference)
    with passes(agent) as seen:
        agent.learner.update(rollout, old, targets, np.random.default_rng(0))
        assert seen == [8]
