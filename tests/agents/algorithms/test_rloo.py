"""What is RLOO's own: a baseline that each response has no part in."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor

from agents import RLOO
from agents.algorithm import take_rows
from rlhf_env.exact import evaluate
from rlhf_env.rollout import Rollout
from rlhf_env.task import Task
from rlhf_env.tasks import load_task
from tests.agents.episodes import as_bandit, cosine, every_toy15_episode, make_envs
from tests.toys import theta_policy, tiny_gpt2_task
from wrappers.vector import EveryK, MacroAction, SequenceBandit


def toy_agent(**settings: Any) -> RLOO:
    task = load_task("toy15")
    return RLOO(make_envs(task, 16, kl_coef=0.5), policy=theta_policy(task), **settings)


def toy_targets(scores: list[float], **settings: Any) -> Any:
    """Targets of the episodes (), (1, 1, 0), (1, 1, 1), (1, 1, 2) as one group, no KL."""
    agent = toy_agent(kl_coef=0.0, **settings)
    episodes = take_rows(every_toy15_episode(agent), torch.tensor([0, 3, 7, 8]))
    paid = torch.where(episodes.last_action, torch.tensor(scores)[:, None], 0.0)
    return targets_of(agent, episodes.with_term("score", paid).with_term("kl", torch.zeros(4, 4)))


def targets_of(agent: RLOO, episodes: Rollout) -> Any:
    old = agent.policy.evaluate_episodes(episodes.tokens, episodes.is_action)
    return agent.learner.algorithm.targets(episodes, old, agent.base.mdp.reference)


def expected_pair_gradient(agent: RLOO, episodes: Rollout) -> Tensor:
    """[V, S] the ascent direction, in expectation over all groups of two of the 15 episodes."""
    first, second = torch.cartesian_prod(torch.arange(15), torch.arange(15)).unbind(1)
    pairs = torch.stack([first, second], dim=1).flatten()
    groups = episodes.take(pairs).replace(group=torch.arange(225).repeat_interleave(2))
    probabilities = episodes.logprobs.sum(dim=1).exp()
    weight = (probabilities[first] * probabilities[second] / 2).repeat_interleave(2)
    assert weight.sum().item() == pytest.approx(1.0, abs=1e-6)
    targets = dataclasses.replace(targets_of(agent, groups), weight=weight)
    new = agent.policy.evaluate_tokens(groups.tokens, groups.is_action)
    losses, _ = agent.learner.algorithm.loss(groups, new, new, targets)
    agent.policy.zero_grad()
    losses.sum().backward()
    (table,) = agent.policy.model.parameters()
    assert table.grad is not None
    return -table.grad


def test_the_baseline_is_the_mean_of_the_others() -> None:
    """Trap E9."""
    targets = toy_targets([1.0, 2.0, 3.0, 6.0])
    expected = [-2.666667, -1.333333, 0.0, 4.0]
    for episode, advantage in enumerate(expected):
        own = targets.advantages[episode, targets.mask[episode]].tolist()
        assert own == pytest.approx([advantage] * len(own), abs=1e-6)
    assert targets.frac_reward_zero_std.tolist() == [0.0] * 4


def test_whitened_advantages_span_the_rollout() -> None:
    """One decision of −8/3, three each of −4/3, 0 and 4: mean 0.533333, variance 5.76."""
    targets = toy_targets([1.0, 2.0, 3.0, 6.0], whiten_advantages=True)
    expected = [-1.333333, -0.777778, -0.222222, 1.444444]
    assert targets.advantages[:, 0].tolist() == pytest.approx(expected, abs=1e-6)


def test_equal_returns_teach_nothing() -> None:
    """Trap E12."""
    targets = toy_targets([0.7, 0.7, 0.7, 0.7])
    assert targets.advantages.tolist() == [[0.0] * 3] * 4
    assert targets.frac_reward_zero_std.tolist() == [1.0] * 4


def test_a_group_of_one_is_refused() -> None:
    """Trap E11."""
    with pytest.raises(ValueError, match="group_size must be an integer >= 2, got 1"):
        toy_agent(group_size=1)


def test_truncated_episodes_are_refused() -> None:
    agent = toy_agent()
    episodes = every_toy15_episode(agent).replace(terminated=torch.arange(15) != 7)
    with pytest.raises(ValueError, match="RLOO has no critic to bootstrap from, got truncated"):
        targets_of(agent, episodes)


@pytest.mark.parametrize("form", ["discounted", "standard"])
def test_the_expected_gradient_is_that_of_the_objective(form: str) -> None:
    """Trap C15, at both granularities."""
    agent = toy_agent(gradient_form=form)
    episodes = every_toy15_episode(agent)
    for rollout in (episodes, as_bandit(episodes)):
        found = expected_pair_gradient(agent, rollout)
        assert found.norm().item() == pytest.approx(0.311532, abs=1e-6)
        assert found[:, 0].tolist() == pytest.approx([0.053833, 0.166889, -0.220722], abs=1e-6)


@pytest.mark.parametrize(
    ("gamma", "norm", "to_undiscounted", "to_slope"),
    [
        (0.95, 0.287875, 0.999683, 0.999602),
        (0.9, 0.265361, 0.998571, 0.998253),
        (0.5, 0.131350, 0.887840, 0.898818),
        (0.0, 0.107977, 0.150921, 0.492798),
    ],
)
def test_both_gradients_under_a_discount(
    gamma: float, norm: float, to_undiscounted: float, to_slope: float
) -> None:
    """Trap C10."""
    episodes = every_toy15_episode(toy_agent())
    usual = expected_pair_gradient(toy_agent(gamma=gamma, gradient_form="standard"), episodes)
    assert usual.norm().item() == pytest.approx(norm, abs=1e-6)
    undiscounted = expected_pair_gradient(toy_agent(), episodes)
    assert cosine(usual, undiscounted) == pytest.approx(to_undiscounted, abs=1e-6)
    slope = expected_pair_gradient(toy_agent(gamma=gamma), episodes)
    assert cosine(usual, slope) == pytest.approx(to_slope, abs=1e-6)


def test_terms_with_one_discount_are_one_discount() -> None:
    episodes = every_toy15_episode(toy_agent())
    together = expected_pair_gradient(toy_agent(gamma=0.9), episodes)
    apart = expected_pair_gradient(toy_agent(gamma={"score": 0.9, "kl": 0.9}), episodes)
    assert torch.allclose(together, apart, atol=1e-6)


@pytest.mark.parametrize("clip_range", [None, 0.2])
def test_a_fresh_policy_has_moved_nowhere(clip_range: float | None) -> None:
    """Traps A1 and A4: dropout in the model, another temperature, several passes."""
    agent = RLOO(
        make_envs(tiny_gpt2_task(dropout=0.1), 8),
        learning_rate=0.0,
        temperature=0.7,
        episodes_per_update=16,
        epochs=2,
        minibatches=2,
        clip_range=clip_range,
    )
    metrics = agent.learn(16, progress=False)[-1]
    assert metrics["ratio_max"] == pytest.approx(1.0, abs=1e-6)
    assert metrics["clip_fraction"] == 0.0


def test_only_a_clip_range_clips() -> None:
    fractions, ratios = [], []
    for clip_range in (None, 0.2):
        agent = RLOO(
            make_envs(load_task("toy15"), 16),
            learning_rate=0.5,
            epochs=4,
            episodes_per_update=16,
            clip_range=clip_range,
        )
        metrics = agent.learn(16, progress=False)[0]
        fractions.append(metrics["clip_fraction"])
        ratios.append(metrics["ratio_max"])
    assert fractions[0] == 0.0 < fractions[1]
    assert min(ratios) > 1.2


@pytest.mark.parametrize(
    "wrap", [SequenceBandit, lambda envs: MacroAction(envs, 2), lambda envs: EveryK(envs, 2)]
)
def test_it_runs_at_every_granularity_and_density(wrap: Any) -> None:
    agent = RLOO(wrap(make_envs(tiny_gpt2_task(), 8)), episodes_per_update=16)
    assert agent.collect().group.tolist() == [0] * 4 + [1] * 4 + [2] * 4 + [3] * 4
    assert agent.learn(32, progress=False)[-1]["gradient_norm"] > 0


def test_a_kl_in_the_loss_leaves_the_reward_without(toy15: Task) -> None:
    """Trap D3: from the reference, the penalty's own gradient is all that there is at first."""
    agent = RLOO(
        make_envs(toy15, 16),
        policy=theta_policy(toy15),
        episodes_per_update=16,
        kl_placement="loss",
        kl_estimator="k2",
    )
    rollout = agent.collect()
    constant = rollout.with_term("score", torch.zeros_like(rollout.rewards))
    with_penalty = agent.update(constant)["gradient_norm"]
    assert with_penalty > 1e-3
    assert agent.update(constant.replace(kl_coef=torch.zeros(16)))["gradient_norm"] == 0.0


def test_it_comes_close_to_the_optimum_in_a_hundred_updates(toy15: Task) -> None:
    agent = RLOO(make_envs(toy15, 32), learning_rate=0.05, episodes_per_update=32)
    agent.learn(3200, progress=False)
    assert evaluate(toy15, agent, kl_coef=0.5).objective / 1.125295 >= 0.95
