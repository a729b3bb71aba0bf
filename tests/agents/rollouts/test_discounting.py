"""One discount for each reward term."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from agents import GRPO, PPO, TRPO, Agent, GRPOConfig, KLPenaltyPPO, PPOConfig
from agents.rollouts.decisions import is_decision
from agents.rollouts.discounting import returns_to_go
from agents.training.run_log import read_metrics
from rlhf_env.rollout import Rollout
from rlhf_env.task import Task
from tests.agents.episodes import every_toy15_episode, make_envs
from tests.agents.runs import assert_equal, make_agent, weights, without_time
from tests.toys import theta_policy, tiny_gpt2_task

PER_TERM = {"score": 1.0, "kl": 0.95}


def three_steps(toy15: Task) -> Rollout:
    """One response (1, 1, 1): score 1 at the end, -0.1, -0.2 and -0.3 for the KL."""
    agent = PPO(make_envs(toy15), policy=theta_policy(toy15))
    rollout = every_toy15_episode(agent).take(torch.tensor([7]))
    rollout = rollout.with_term("score", torch.tensor([[0.0, 0.0, 0.0, 1.0]]))
    return rollout.with_term("kl", torch.tensor([[0.0, -0.1, -0.2, -0.3]]))


def test_returns_of_two_terms(toy15: Task) -> None:
    """By hand: 1 - 0.1 - 0.95 * 0.2 - 0.9025 * 0.3, and so on."""
    rollout = three_steps(toy15)
    mask = is_decision(rollout)
    usual = returns_to_go(rollout, mask, PER_TERM)
    assert usual[0].tolist() == pytest.approx([0.43925, 0.515, 0.7], abs=1e-6)
    weighed = returns_to_go(rollout, mask, PER_TERM, "discounted")
    assert weighed[0].tolist() == pytest.approx([0.43925, 0.53925, 0.72925], abs=1e-6)
    one = returns_to_go(rollout, mask, 0.95)
    assert one[0].tolist() == pytest.approx([0.34175, 0.465, 0.7], abs=1e-6)


@pytest.mark.parametrize("gamma", [1.0, 0.9])
@pytest.mark.parametrize("gae_lambda", [1.0, 0.5])
@pytest.mark.parametrize("form", ["standard", "discounted"])
def test_equal_discounts_are_one_discount(
    toy15: Task, gamma: float, gae_lambda: float, form: str
) -> None:
    """Advantages are linear in rewards and values: heads that add up to one head are that head."""
    found = []
    for discount, values in ((gamma, [1.0]), ({"score": gamma, "kl": gamma}, [1.7, -0.7])):
        agent = PPO(
            make_envs(toy15),
            policy=theta_policy(toy15),
            gamma=discount,
            gae_lambda=gae_lambda,
            gradient_form=form,
        )
        with torch.no_grad():
            agent.policy.value_head.bias.copy_(torch.tensor(values))
        episodes = every_toy15_episode(agent)
        old = agent.policy.evaluate_episodes(episodes.tokens, episodes.is_action)
        targets = agent.learner.algorithm.targets(episodes, old, agent.base.mdp.reference)
        found.append((targets.advantages, sum(targets.returns.values())))
    for one, several in zip(*found, strict=True):
        assert torch.allclose(one, several, atol=1e-5)


def test_equal_discounts_are_one_discount_without_a_critic(toy15: Task) -> None:
    found = []
    for discount in (0.9, {"score": 0.9, "kl": 0.9}):
        agent = GRPO(make_envs(toy15), policy=theta_policy(toy15), gamma=discount)
        episodes = every_toy15_episode(agent)
        old = agent.policy.evaluate_episodes(episodes.tokens, episodes.is_action)
        targets = agent.learner.algorithm.targets(episodes, old, agent.base.mdp.reference)
        found.append(targets.advantages)
    assert torch.allclose(*found, atol=1e-5)


@pytest.mark.parametrize("kind", [PPO, GRPO, TRPO, KLPenaltyPPO])
@pytest.mark.parametrize(
    ("gamma", "named"),
    [({"score": 1.0}, "['score']"), ({**PER_TERM, "style": 1.0}, "['kl', 'score', 'style']")],
)
def test_other_terms_than_are_paid_are_refused(
    kind: type[Agent], gamma: dict[str, float], named: str
) -> None:
    agent = make_agent(kind, gamma=gamma)
    message = f"gamma must name each reward term that is paid, ['kl', 'score'], got {named}; add"
    with pytest.raises(ValueError, match=re.escape(message)):
        agent.learn(8, progress=False)


@pytest.mark.parametrize("kind", [PPOConfig, GRPOConfig])
@pytest.mark.parametrize(
    ("gamma", "message"),
    [
        ({}, 'gamma must be a number or name reward terms, as {"score": 1.0}, got {}'),
        ({"score": 1.5}, "gamma['score'] must be a number in [0, 1], got 1.5"),
        ({"kl": "a"}, "gamma['kl'] must be a number in [0, 1], got 'a'"),
    ],
)
def test_impossible_discounts(kind: Any, gamma: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        kind(gamma=gamma)


@pytest.mark.parametrize("kind", [PPO, GRPO])
def test_a_run_with_two_discounts_resumes(kind: type[Agent], tmp_path: Path) -> None:
    whole = make_agent(kind, gamma=PER_TERM)
    whole.learn(32, log_dir=tmp_path / "whole", progress=False)
    make_agent(kind, gamma=PER_TERM).learn(16, log_dir=tmp_path / "parts", progress=False)
    resumed = make_agent(kind, gamma=PER_TERM)
    resumed.learn(32, log_dir=tmp_path / "parts", progress=False)
    runs = [read_metrics(tmp_path / name / "metrics.jsonl") for name in ("whole", "parts")]
    assert without_time(runs[0]) == without_time(runs[1])
    assert_equal(weights(whole), weights(resumed))


def test_a_saved_agent_keeps_its_discounts(tmp_path: Path) -> None:
    agent = make_agent(gamma=PER_TERM)
    agent.learn(8, progress=False)
    agent.save(tmp_path / "a")
    loaded = PPO.load(tmp_path / "a", make_envs(tiny_gpt2_task()))
    assert loaded.config.gamma == PER_TERM
    assert loaded.policy.value_names == ("score", "kl")
    assert_equal(weights(agent), weights(loaded))
    other = make_agent(gamma={"score": 1.0, "kl": 0.9})
    with pytest.raises(ValueError, match=r"was made with gamma = \{'score': 1.0, 'kl': 0.95\}"):
        other.restore(tmp_path / "a")
