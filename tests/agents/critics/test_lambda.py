"""Lambda of the critic's targets, and lambda by the length of an episode."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from agents import PPO, TRPO, Agent, KLPenaltyPPO
from agents.math import gae, length_adaptive_lambda
from agents.settings import PPOConfig, TRPOConfig
from rlhf_env.task import Task
from tests.agents.episodes import every_toy15_episode, make_envs
from tests.toys import theta_policy
from wrappers.vector import MacroAction, SequenceBandit

KINDS = [PPO, KLPenaltyPPO, TRPO]
WRAPS = [None, lambda envs: MacroAction(envs, 2), SequenceBandit]


def test_by_length() -> None:
    """alpha 0.05: 1 - 1/(0.05 * 100) = 0.8 and, at 20 decisions and below, 0."""
    mask = torch.arange(100) < torch.tensor([100, 40, 20, 3])[:, None]
    found = length_adaptive_lambda(mask, 0.05)
    assert found.tolist() == pytest.approx([0.8, 0.5, 0.0, 0.0])


def test_the_weights_add_up_to_alpha_times_the_length() -> None:
    """The claim that VAPO derives the formula from: sum of lambda^t is about alpha l."""
    mask = torch.ones(1, 1000, dtype=torch.bool)
    chosen = length_adaptive_lambda(mask, 0.05)
    weights = chosen[0] ** torch.arange(1000)
    assert float(weights.sum()) == pytest.approx(0.05 * 1000, rel=1e-6)


def test_each_episode_has_its_own_lambda() -> None:
    rewards, values = torch.tensor([[0.0, 0.0, 1.0]] * 2), torch.tensor([[0.5, 0.2, 0.4]] * 2)
    mask = torch.ones(2, 3, dtype=torch.bool)
    both = gae(rewards, values, mask, torch.zeros(2), 0.9, torch.tensor([1.0, 0.0]))
    # 0.81 - 0.5, 0.9 - 0.2, 1 - 0.4; and 0.9 * 0.2 - 0.5, 0.9 * 0.4 - 0.2, 0.6.
    assert both[0].tolist() == pytest.approx([0.31, 0.7, 0.6])
    assert both[1].tolist() == pytest.approx([-0.32, 0.16, 0.6])
    with pytest.raises(ValueError, match="gae_lambda of shape"):
        gae(rewards, values, mask, torch.zeros(2), 0.9, torch.ones(3))


def targets_of(task: Task, **settings: Any) -> Any:
    agent = PPO(make_envs(task, kl_coef=0.5), policy=theta_policy(task), **settings)
    with torch.no_grad():
        agent.policy.value_head.weight.copy_(torch.linspace(-1, 1, 7)[None])
    episodes = every_toy15_episode(agent)
    old = agent.policy.evaluate_episodes(episodes.tokens, episodes.is_action)
    return episodes, agent.targets(episodes, old)[0]


def test_the_critic_has_a_lambda_of_its_own(toy15: Task) -> None:
    """At 1 it learns the returns themselves, and the policy's advantages stay what they were."""
    plain = {"gae_lambda": 0.5, "whiten_advantages": False}
    episodes, coupled = targets_of(toy15, **plain)
    _, decoupled = targets_of(toy15, **plain, critic_gae_lambda=1.0)
    assert torch.equal(coupled.advantages, decoupled.advantages)
    to_go = episodes.rewards.flip(1).cumsum(1).flip(1)[:, 1:]
    returns = decoupled.returns["return"]
    assert torch.allclose(returns[decoupled.mask], to_go[decoupled.mask], atol=1e-6)
    assert (coupled.returns["return"] - returns).abs().max() > 0.1


def test_length_adaptive_is_lambda_by_length(toy15: Task) -> None:
    """alpha 1: lambda 0, 1/2 and 2/3 for episodes of one, two and three tokens."""
    _, adaptive = targets_of(toy15, length_adaptive_lambda=1.0, whiten_advantages=False)
    lengths = adaptive.mask.sum(1)
    for length, gae_lambda in ((1, 0.0), (2, 0.5), (3, 2 / 3)):
        _, fixed = targets_of(toy15, gae_lambda=gae_lambda, whiten_advantages=False)
        rows = lengths == length
        assert torch.allclose(adaptive.advantages[rows], fixed.advantages[rows], atol=1e-6)
        same = torch.allclose(adaptive.returns["return"][rows], fixed.returns["return"][rows])
        assert same


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("wrap", WRAPS)
@pytest.mark.parametrize(
    "settings",
    [{"critic_gae_lambda": 1.0}, {"length_adaptive_lambda": 0.6}],
)
def test_every_agent_honors_them(
    toy15: Task, kind: type[Agent], wrap: Any, settings: dict[str, Any]
) -> None:
    """Two updates, as the critic has to say something first; a bandit has one decision only."""
    heads = []
    for given in ({}, settings):
        envs: Any = make_envs(toy15, 16, kl_coef=0.1)
        agent = kind(
            envs if wrap is None else wrap(envs),
            episodes_per_update=16,
            gae_lambda=0.3,
            learning_rate=0.02,
            **given,
        )
        for _ in range(2):
            agent.update(agent.collect())
        heads.append(agent.policy.value_head.weight.detach())
    assert torch.equal(*heads) is (wrap is SequenceBandit)


@pytest.mark.parametrize(
    ("config", "settings", "message"),
    [
        (PPOConfig, {"critic_gae_lambda": 1.5}, "critic_gae_lambda"),
        (PPOConfig, {"length_adaptive_lambda": 0.0}, "length_adaptive_lambda"),
        (PPOConfig, {"critic_warmup_updates": -1}, "critic_warmup_updates"),
        (PPOConfig, {"critic_learning_rate": -1.0}, "critic_learning_rate"),
        (PPOConfig, {"critic_rollouts": 0}, "critic_rollouts"),
        (TRPOConfig, {"critic_learning_rate": 0.1}, "set learning_rate"),
    ],
)
def test_bad_settings(config: Any, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        config(**settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"critic_gae_lambda": 1.0},
        {"critic_warmup_updates": 1},
        {"critic_learning_rate": 0.1},
        {"value_clip_range": 0.1},
        {"whiten_rewards": True},
    ],
)
def test_what_a_monte_carlo_critic_refuses(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="monte_carlo"):
        PPOConfig(critic="monte_carlo", **settings)
