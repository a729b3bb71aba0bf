"""At (pi*, V*) every residual of every path is 0, and no agent moves, whoever sampled."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch

from agents import PCL, TBRM, ReVal, ShiQ, TrajectoryBalance
from agents.off_policy.residuals import (
    group_log_z,
    path_residuals,
    soft_gains,
    sub_path_residuals,
    trajectory_residuals,
)
from agents.off_policy.soft_values import suffix_residuals
from rlhf_env.exact import solve
from rlhf_env.rollout import Rollout
from rlhf_env.task import Task
from rlhf_env.tasks import load_task
from tests.agents.episodes import as_bandit
from tests.agents.off_policy.exact_paths import optimal_paths, random_task
from tests.agents.off_policy.optimum import (
    KL_COEF,
    every_episode,
    loss_and_slope,
    place_at_optimum,
    toy_agent,
)

TASKS: dict[str, Callable[[], Task]] = {"toy15": lambda: load_task("toy15"), "random": random_task}


@pytest.mark.parametrize("gamma", [1.0, 0.8, 0.0])
@pytest.mark.parametrize("kl_coef", [0.5, 0.05])
@pytest.mark.parametrize("name", TASKS)
def test_residuals_of_the_optimum(name: str, kl_coef: float, gamma: float) -> None:
    """In float64, of every sub-path of every response, however unlikely."""
    at = optimal_paths(TASKS[name](), kl_coef, gamma)
    nothing = torch.zeros(len(at.mask), dtype=torch.float64)
    gains = soft_gains(at.rewards, at.log_ratio, at.mask, at.kl_coef)
    log_z = at.values[:, 0] / at.kl_coef
    trajectory = trajectory_residuals(at.rewards, at.log_ratio, at.mask, at.kl_coef, gamma)
    found = {
        "sub-paths": sub_path_residuals(at.values, nothing, gains, at.mask, gamma)[0],
        "one step": path_residuals(at.values, nothing, gains, at.mask, gamma, 1),
        "two steps": path_residuals(at.values, nothing, gains, at.mask, gamma, 2),
        "suffixes": suffix_residuals(
            at.values,
            at.rewards,
            at.log_ratio,
            at.mask,
            at.kl_coef,
            gamma,
            holds_later=False,
        ),
        "trajectories": trajectory + log_z,
        "groups": group_log_z(trajectory, torch.arange(len(log_z)) // 5) - log_z,
    }
    for each, residuals in found.items():
        assert residuals.abs().max() < 1e-9, each
    # And it is no other policy's.
    elsewhere = trajectory_residuals(at.rewards, 0.9 * at.log_ratio, at.mask, at.kl_coef, gamma)
    assert (elsewhere + log_z).abs().max() > 1e-3


def at_optimum(kind: Any, gamma: float, **settings: Any) -> Any:
    """An agent at pi*, whose value head and whose logits both have V*."""
    agent = toy_agent(kind, gamma=gamma, **settings)
    place_at_optimum(agent)
    values = torch.tensor(list(solve(agent.base.task, KL_COEF, gamma).values.values()))
    (reference,) = agent.base.task.reference.parameters()
    (table,) = agent.policy.model.parameters()
    # Any number may be added to the logits of a state, and it is the value there.
    origin = reference.logsumexp(dim=0) if kind in (ReVal, ShiQ) else 0.0
    with torch.no_grad():
        table += values / KL_COEF + origin
    return agent


AGENTS: dict[str, tuple[Any, dict[str, Any]]] = {
    "pcl": (PCL, {}),
    "pcl-1": (PCL, {"path_length": 1}),
    "pcl-2": (PCL, {"path_length": 2}),
    "learned log Z": (TrajectoryBalance, {"log_z": "learned"}),
    "tbrm": (TBRM, {}),
    "reval": (ReVal, {}),
    "shiq": (ShiQ, {}),
}
GRANULARITIES: dict[str, Callable[[Rollout], Rollout]] = {
    "token": lambda episodes: episodes,
    "macro": lambda episodes: episodes.replace(
        decision=torch.where(episodes.is_action, episodes.decision // 2, -1)
    ),
    "bandit": as_bandit,
}


@pytest.mark.parametrize("name", AGENTS)
@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_nothing_moves_at_the_optimum(name: str, granularity: str) -> None:
    """Under any behavior with full support; without a discount whatever a decision is."""
    kind, settings = AGENTS[name]
    agent = at_optimum(kind, 1.0, **settings)
    for seed in range(2):
        episodes = GRANULARITIES[granularity](every_episode(agent, seed))
        loss, slope = loss_and_slope(agent, episodes)
        assert (loss, slope) == (pytest.approx(0.0, abs=1e-9), pytest.approx(0.0, abs=1e-4))


@pytest.mark.parametrize("name", AGENTS)
def test_nothing_moves_at_the_discounted_optimum(name: str) -> None:
    kind, settings = AGENTS[name]
    agent = at_optimum(kind, 0.8, **settings)
    loss, slope = loss_and_slope(agent, every_episode(agent))
    assert (loss, slope) == (pytest.approx(0.0, abs=1e-9), pytest.approx(0.0, abs=1e-4))
    undiscounted = at_optimum(kind, 1.0, **settings)
    agent.policy.load_state_dict(undiscounted.policy.state_dict())
    assert loss_and_slope(agent, every_episode(agent))[0] > 1e-3


def in_one_group(episodes: Rollout) -> Rollout:
    return episodes.replace(group=torch.zeros_like(episodes.group))


@pytest.mark.parametrize("gamma", [1.0, 0.8])
def test_nothing_moves_with_the_log_z_of_any_group(gamma: float) -> None:
    agent = at_optimum(TrajectoryBalance, gamma)
    episodes = in_one_group(every_episode(agent))
    old = agent.policy.evaluate_rollout(episodes)
    rule = agent.learner.algorithm
    targets = rule.targets(episodes, old, agent.base.mdp.reference)
    value = solve(agent.base.task, KL_COEF, gamma).values[()]
    assert targets.log_z.tolist() == pytest.approx([value / KL_COEF] * len(episodes), abs=1e-5)
    new = agent.policy.evaluate_tokens(episodes.tokens, episodes.is_action)
    losses, _ = rule.loss(episodes, new, old, targets)
    losses.sum().backward()
    (table,) = agent.policy.model.parameters()
    assert losses.abs().max() < 1e-9
    assert table.grad is not None
    assert table.grad.abs().max() < 1e-4


@pytest.mark.parametrize("name", AGENTS)
def test_the_coefficient_is_each_episodes_own(name: str) -> None:
    """Episodes that were paid with twice the coefficient are twice the score and half the ratio."""
    kind, settings = AGENTS[name]
    agent = at_optimum(kind, 1.0, **settings)
    episodes = every_episode(agent)
    assert episodes.kl_coef is not None
    steered = episodes.replace(
        kl_coef=2 * episodes.kl_coef,
        reward_terms={
            **episodes.reward_terms,
            "score": 2 * episodes.reward_terms["score"],
        },
    )
    if kind in (PCL, TrajectoryBalance):
        agent.policy.value_head.weight.data.mul_(2)
    loss, slope = loss_and_slope(agent, steered)
    assert (loss, slope) == (pytest.approx(0.0, abs=1e-9), pytest.approx(0.0, abs=1e-4))


@pytest.mark.parametrize("name", AGENTS)
def test_what_the_behavior_was_paid_for_kl_is_not_read(name: str) -> None:
    """Neither its rewards, which hold its KL, nor its log-probabilities."""
    kind, settings = AGENTS[name]
    agent = at_optimum(kind, 1.0, **settings)
    episodes = every_episode(agent)
    absurd = torch.full_like(episodes.rewards, 1e3)
    other = episodes.replace(
        rewards=absurd, logprobs=absurd, reward_terms={**episodes.reward_terms, "kl": absurd}
    )
    assert loss_and_slope(agent, other) == loss_and_slope(agent, episodes)


def test_a_temperature_is_of_the_logits_and_of_their_normalizer() -> None:
    """Logits times 2 under temperature 2 are the same policy with the same values."""
    for kind in (TBRM, ReVal, ShiQ):
        agent = at_optimum(kind, 1.0)
        episodes = every_episode(agent)
        plain = at_optimum(kind, 1.0)
        hot = toy_agent(kind, temperature=2.0)
        (table,), (cold,) = hot.policy.model.parameters(), plain.policy.model.parameters()
        reference = hot.base.mdp.reference.model
        with torch.no_grad():
            table.copy_(2 * cold)
            reference.get_output_embeddings().weight.mul_(2)
        loss, slope = loss_and_slope(hot, episodes)
        assert (loss, slope) == (pytest.approx(0.0, abs=1e-9), pytest.approx(0.0, abs=1e-4))


def test_the_gradient_in_the_values_is_scaled_and_that_in_the_policy_is_not() -> None:
    found = []
    for value_coef in (1.0, 0.25):
        agent = toy_agent(PCL, value_coef=value_coef)
        loss_and_slope(agent, every_episode(agent))
        (table,) = agent.policy.model.parameters()
        found.append((agent.policy.value_head.weight.grad.clone(), table.grad.clone()))
    (values, policy), (scaled, same) = found
    torch.testing.assert_close(scaled, 0.25 * values)
    torch.testing.assert_close(same, policy)
    assert values.abs().max() > 0.01


def test_a_truncated_episode_is_completed_by_the_value_behind_it() -> None:
    """All values are low by 1, that behind the last token too, which is 0 at an end."""
    agent = at_optimum(PCL, 1.0, path_length=3)
    episodes = every_episode(agent)
    cut = episodes.replace(terminated=torch.zeros_like(episodes.terminated))
    said = agent.policy.evaluate_tokens(episodes.tokens, episodes.is_action)
    low = dataclasses.replace(
        said, values=said.values - 1.0, last_values=torch.full_like(said.last_values, -1.0)
    )
    rule = agent.learner.algorithm
    for given, expected in ((episodes, 1.0), (cut, 0.0)):
        targets = rule.targets(given, low, agent.base.mdp.reference)
        losses, metrics = rule.loss(given, low, low, targets)
        squared = metrics["squared_residual"]
        assert squared.tolist() == pytest.approx([expected] * len(episodes), abs=1e-5)
        torch.testing.assert_close(losses, 0.5 * squared * episodes.response_lengths)


@pytest.mark.parametrize("name", [name for name in AGENTS if "pcl" not in name])
def test_others_refuse_truncated_episodes(name: str) -> None:
    kind, settings = AGENTS[name]
    agent = at_optimum(kind, 1.0, **settings)
    episodes = every_episode(agent)
    cut = episodes.replace(terminated=torch.zeros_like(episodes.terminated))
    with pytest.raises(ValueError, match=r"needs whole episodes.*got truncated episodes"):
        loss_and_slope(agent, cut)
