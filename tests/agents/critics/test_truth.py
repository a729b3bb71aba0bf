"""How far a critic is from the exact value of the current policy."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from agents import PPO, TRPO, Agent, KLPenaltyPPO
from agents.critics.truth import exact_values
from agents.math import masked_mean
from agents.rollouts.decisions import is_decision
from rlhf_env.task import Task
from rlhf_env.tasks import load_task
from tests.agents.critics.test_check import EXACT, STATES
from tests.agents.episodes import make_envs
from tests.toys import theta_policy, tiny_gpt2_task
from wrappers.vector import EveryK, MacroAction, PotentialShaping, SequenceBandit

KINDS = [PPO, KLPenaltyPPO, TRPO]


def theta_agent(task: Task, wrap: Any = None, kind: Any = PPO, **settings: Any) -> Any:
    envs: Any = make_envs(task, 32, kl_coef=0.5)
    settings = {"episodes_per_update": 32, "critic_truth": True, **settings}
    return kind(envs if wrap is None else wrap(envs), policy=theta_policy(task), **settings)


def test_the_values_of_toy15(toy15: Task) -> None:
    agent = theta_agent(toy15)
    rollout = agent.collect()
    values = exact_values(agent, rollout)
    for row, response in enumerate(rollout.responses()):
        for time in range(len(response)):
            exact = EXACT[STATES[tuple(response[:time].tolist())]]
            assert values[row, time].item() == pytest.approx(exact, abs=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_perfect_critic_and_one_that_is_off_by_one(toy15: Task, kind: type[Agent]) -> None:
    agent = theta_agent(toy15, kind=kind)
    with torch.no_grad():
        agent.policy.value_head.weight.copy_(torch.tensor([EXACT]))
    rollout = agent.collect()
    perfect = agent.update(rollout)
    assert perfect["critic_bias"] == pytest.approx(0.0, abs=1e-5)
    assert perfect["critic_rmse"] == pytest.approx(0.0, abs=1e-5)
    assert perfect["critic_explained_variance"] == pytest.approx(1.0, abs=1e-5)
    other = theta_agent(toy15, kind=kind)
    with torch.no_grad():
        other.policy.value_head.weight.copy_(torch.tensor([EXACT]))
        other.policy.value_head.bias.fill_(1.0)
    off = other.update(rollout)
    assert off["critic_bias"] == pytest.approx(1.0, abs=1e-5)
    assert off["critic_rmse"] == pytest.approx(1.0, abs=1e-5)
    assert off["critic_explained_variance"] == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize(
    ("wrap", "settings"),
    [
        (SequenceBandit, {}),
        (lambda envs: MacroAction(envs, 2), {}),
        (lambda envs: EveryK(envs, 1), {"gamma": 0.9}),
        (lambda envs: PotentialShaping(envs, gamma=1.0), {}),
        (None, {"gamma": {"score": 0.9, "kl": 1.0}}),
        (None, {"kl_estimator": "k3"}),
        (None, {"kl_placement": "loss", "kl_estimator": "k2"}),
    ],
)
def test_it_is_what_many_continuations_say(
    toy15: Task, wrap: Any, settings: dict[str, Any]
) -> None:
    """The mean error of 150 returns from every decision, over all of them."""
    agent = theta_agent(toy15, wrap, critic="monte_carlo", critic_rollouts=150, **settings)
    found = agent.update(agent.collect())
    assert abs(found["critic_bias"]) < 0.06
    assert found["critic_rmse"] < 0.2
    if wrap is not SequenceBandit:
        # Dense rewards leave less to tell states apart by.
        assert found["critic_explained_variance"] > 0.8


@pytest.mark.parametrize("settings", [{}, {"gamma": {"score": 0.9, "kl": 1.0}}])
def test_dynamic_programming_agrees_with_enumeration(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]
) -> None:
    import agents.critics.truth

    task = load_task("needles-4", vocab_size=5)
    agent = PPO(
        make_envs(task, 16),
        episodes_per_update=16,
        learning_rate=0.1,
        critic_truth=True,
        **settings,
    )
    agent.learn(32, progress=False)
    rollout = agent.collect()
    enumerated = exact_values(agent, rollout)
    monkeypatch.setattr(agents.critics.truth, "_SHORT", 0)
    assert torch.allclose(exact_values(agent, rollout), enumerated, atol=1e-5)
    mask = is_decision(rollout)
    assert float(masked_mean(enumerated, mask)) > 0.05


def test_a_long_automaton_is_watched() -> None:
    agent = PPO(make_envs(load_task("delay-64"), 16), episodes_per_update=16, critic_truth=True)
    (row,) = agent.learn(16, progress=False)
    # The untrained critic says 0; V of the reference is what it scores.
    assert row["critic_bias"] < 0
    assert row["critic_explained_variance"] == 0.0


def test_it_costs_nothing_when_it_is_off(toy15: Task) -> None:
    agent = theta_agent(toy15, critic_truth=False)
    assert not any(name.startswith("critic_") for name in agent.update(agent.collect()))


@pytest.mark.parametrize(
    ("task", "options", "settings", "message"),
    [
        ("delay-64", {}, {"kl_estimator": "k3"}, "kl_estimator = 'k3'"),
        ("delay-64", {}, {"temperature": 0.7}, "temperature = 0.7"),
        ("toy15", {}, {"whiten_rewards": True}, "whiten_rewards"),
        ("toy15", {"length_limit": "bootstrap"}, {}, "bootstrap"),
    ],
)
def test_what_is_not_known_is_refused(
    task: str, options: dict[str, Any], settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        PPO(make_envs(load_task(task), **options), critic_truth=True, **settings)


def test_a_transformer_with_a_real_vocabulary_is_refused() -> None:
    with pytest.raises(ValueError, match="neither an automaton nor small enough"):
        PPO(make_envs(tiny_gpt2_task()), critic_truth=True)
    wrapped: Any = SequenceBandit(make_envs(load_task("delay-64")))
    with pytest.raises(ValueError, match="got wrappers around"):
        PPO(wrapped, critic_truth=True)
