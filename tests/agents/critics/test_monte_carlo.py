"""Values by continuations: the exact ones on average, at their price in tokens."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from agents import PPO, TRPO, Agent, KLPenaltyPPO
from agents.critics.monte_carlo import monte_carlo_values
from agents.rollouts.values import with_values
from rlhf_env.task import Task
from tests.agents.critics.test_check import EXACT, STATES
from tests.agents.episodes import make_envs
from tests.toys import theta_policy, tiny_gpt2_task, tiny_llama_task
from wrappers.vector import EveryK, MacroAction, SequenceBandit

KINDS = [PPO, KLPenaltyPPO, TRPO]
WRAPS = [None, lambda envs: MacroAction(envs, 2), SequenceBandit, lambda envs: EveryK(envs, 1)]


def theta_agent(task: Task, wrap: Any = None, kind: Any = PPO, **settings: Any) -> Any:
    envs: Any = make_envs(task, 32, kl_coef=0.5)
    settings = {"critic": "monte_carlo", "episodes_per_update": 32, **settings}
    return kind(envs if wrap is None else wrap(envs), policy=theta_policy(task), **settings)


def test_they_are_the_exact_values(toy15: Task) -> None:
    agent = theta_agent(toy15)
    rollout = agent.collect()
    found = monte_carlo_values(agent, rollout, 200, np.random.default_rng(0))
    values = found.values["return"]
    errors = []
    for row, response in enumerate(rollout.responses()):
        for time in range(len(response)):
            exact = EXACT[STATES[tuple(response[:time].tolist())]]
            errors.append(values[row, time].item() - exact)
    # 200 returns of standard deviation below 1.5 each: 0.11 at most.
    assert max(map(abs, errors)) < 5 * 0.11
    assert abs(sum(errors) / len(errors)) < 0.05
    assert found.tokens > 200 * len(errors)


def test_discounts_are_the_agent_s(toy15: Task) -> None:
    """V of () at gamma 0.5 under theta is 0.136071."""
    for gamma in (0.5, {"score": 0.5, "kl": 0.5}):
        agent = theta_agent(toy15, gamma=gamma)
        rollout = agent.collect()
        found = monte_carlo_values(agent, rollout, 200, np.random.default_rng(0))
        root = sum(each[:, 0].mean().item() for each in found.values.values())
        assert root == pytest.approx(0.136071, abs=0.03)


def test_outputs_hold_them_at_every_token_of_a_decision(toy15: Task) -> None:
    agent = theta_agent(toy15, SequenceBandit)
    rollout = agent.collect()
    old = agent.policy.evaluate_episodes(rollout.tokens, rollout.is_action)
    values = torch.arange(32.0)[:, None]
    spread = with_values(old, rollout, {"return": values})
    assert torch.equal(spread.values, torch.where(rollout.is_action, values, 0.0))
    assert torch.equal(spread.logprobs, old.logprobs)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("wrap", WRAPS)
def test_every_agent_learns_with_it(toy15: Task, kind: type[Agent], wrap: Any) -> None:
    agent = theta_agent(toy15, wrap, kind, critic_rollouts=3)
    (before,) = (p.clone() for p in agent.policy.model.parameters())
    metrics = agent.update(agent.collect())
    assert metrics["critic_tokens"] >= 3 * 32
    assert "value_loss" not in metrics
    assert not torch.equal(before, next(agent.policy.model.parameters()))
    assert not agent.policy.value_head.weight.any()


def test_a_transformer_goes_on_from_its_own_prefixes() -> None:
    task = tiny_llama_task()
    agent = PPO(make_envs(task), episodes_per_update=8, critic="monte_carlo", critic_rollouts=2)
    rollout = agent.collect()
    again = [
        monte_carlo_values(agent, rollout, 2, np.random.default_rng(seed)) for seed in (0, 0, 1)
    ]
    assert torch.equal(again[0].values["return"], again[1].values["return"])
    assert not torch.equal(again[0].values["return"], again[2].values["return"])
    assert torch.equal(agent.collect().tokens, rollout.tokens)


def test_environments_that_cannot_go_on_are_refused() -> None:
    task = tiny_gpt2_task()
    with pytest.raises(ValueError, match="got truncated episodes"):
        PPO(make_envs(task, length_limit="bootstrap"), critic="monte_carlo")
