"""REINFORCE with each of its baselines, and the greedy rollouts that one of them needs."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from agents import Policy, Reinforce, collect
from agents.rollouts.kl_reward import add_policy_logprob
from agents.settings import BASELINES
from rlhf_env.exact import evaluate
from rlhf_env.rollout import Rollout
from rlhf_env.task import Task
from rlhf_env.tasks import load_task
from tests.agents.episodes import (
    as_bandit,
    cosine,
    every_toy15_episode,
    expected_gradient,
    make_envs,
)
from tests.toys import theta_policy, tiny_gpt2, tiny_gpt2_task
from wrappers.vector import EveryK, MacroAction, PotentialShaping, SequenceBandit


def toy_agent(baseline: str, **settings: Any) -> Reinforce:
    task = load_task("toy15")
    envs = make_envs(task, 16, kl_coef=0.5)
    return Reinforce(envs, policy=theta_policy(task), baseline=baseline, **settings)


def targets_of(agent: Reinforce, episodes: Rollout) -> Any:
    old = agent.policy.evaluate_episodes(episodes.tokens, episodes.is_action)
    return agent.learner.algorithm.targets(episodes, old, agent.base.mdp.reference)


@pytest.mark.parametrize("baseline", BASELINES)
@pytest.mark.parametrize("form", ["standard", "discounted"])
def test_no_baseline_changes_the_expected_gradient(baseline: str, form: str) -> None:
    """Trap C15, at both granularities."""
    agent = toy_agent(baseline, gradient_form=form, value_coef=0.0)
    with torch.no_grad():
        agent.policy.value_head.weight.copy_(torch.linspace(-1.0, 2.0, 7))
    episodes = every_toy15_episode(agent)
    for rollout in (episodes, as_bandit(episodes)):
        found = expected_gradient(agent, rollout)
        assert found.norm().item() == pytest.approx(0.311532, abs=1e-6)
        assert found[:, 0].tolist() == pytest.approx([0.053833, 0.166889, -0.220722], abs=1e-6)


@pytest.mark.parametrize("baseline", BASELINES)
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
    baseline: str, gamma: float, norm: float, to_undiscounted: float, to_slope: float
) -> None:
    """Trap C10."""
    episodes = every_toy15_episode(toy_agent(baseline))
    usual = expected_gradient(toy_agent(baseline, gamma=gamma), episodes)
    assert usual.norm().item() == pytest.approx(norm, abs=1e-6)
    undiscounted = expected_gradient(toy_agent(baseline), episodes)
    assert cosine(usual, undiscounted) == pytest.approx(to_undiscounted, abs=1e-6)
    agent = toy_agent(baseline, gamma=gamma, gradient_form="discounted")
    assert cosine(usual, expected_gradient(agent, episodes)) == pytest.approx(to_slope, abs=1e-6)


def test_the_mean_is_that_of_all_decisions() -> None:
    """Scores 1 and 4 after one and three tokens: returns 1, 4, 4, 4 have mean 3.25."""
    agent = toy_agent("batch_mean", kl_coef=0.0)
    episodes = every_toy15_episode(agent).take(torch.tensor([0, 7]))
    paid = torch.where(episodes.last_action, torch.tensor([[1.0], [4.0]]), 0.0)
    targets = targets_of(agent, episodes.with_term("score", paid))
    assert targets.advantages[targets.mask].tolist() == pytest.approx([-2.25, 0.75, 0.75, 0.75])


def test_the_greedy_return_has_its_score_and_its_kl() -> None:
    """Theta ends at once, most likely: 0.25 − 0.5 (log 0.541137 − log 0.502483)."""
    agent = toy_agent("greedy")
    episodes = every_toy15_episode(agent)
    targets = targets_of(agent, episodes)
    assert targets.values["return"].unique().tolist() == pytest.approx([0.212944], abs=1e-6)
    assert targets.baseline_tokens.tolist() == [1.0] * 15


def test_the_greedy_return_is_discounted_alike() -> None:
    """A table that prefers 1, 1, 1 with 0.9 everywhere; score 3, no KL."""
    task = load_task("toy15")
    policy = theta_policy(task)
    with torch.no_grad():
        policy.lm_head.weight.copy_(torch.tensor([0.05, 0.9, 0.05]).log()[:, None].expand(3, 7))
    settings: dict[str, Any] = {"baseline": "greedy", "gamma": 0.5, "kl_coef": 0.0}
    agent = Reinforce(make_envs(task, 4), policy=policy, **settings)
    targets = targets_of(agent, every_toy15_episode(agent))
    assert targets.values["return"].unique().tolist() == [0.75]
    assert targets.baseline_tokens.tolist() == [3.0] * 15
    apart = Reinforce(
        make_envs(task, 4), policy=policy, **settings | {"gamma": {"score": 0.5, "kl": 1.0}}
    )
    assert targets_of(apart, every_toy15_episode(apart)).values["score"].unique().tolist() == [0.75]


def test_each_prompt_has_its_own_greedy_response() -> None:
    task = tiny_gpt2_task()
    agent = Reinforce(make_envs(task, 8), baseline="greedy", episodes_per_update=12)
    rollout = agent.collect()
    greedy = agent.greedy_responses(rollout)
    distinct = {tuple(prompt.tolist()) for prompt in rollout.prompts()}
    assert len(greedy.episodes) == len(distinct) == 3
    answered = [greedy.episodes.prompts()[row].tolist() for row in greedy.row.tolist()]
    assert answered == [prompt.tolist() for prompt in rollout.prompts()]
    metrics = agent.update(rollout)
    assert metrics["baseline_tokens"] == greedy.episodes.is_action.sum().item()


def test_the_greedy_response_is_paid_through_the_same_wrappers() -> None:
    """PotentialShaping at gamma 1 takes off the empty prefix's score only; EveryK nothing."""
    task = tiny_gpt2_task()
    base = make_envs(task, 4)
    plain = Reinforce(base, baseline="greedy", episodes_per_update=6)
    rollout = plain.collect()
    expected = plain.greedy_responses(rollout)
    for wrap in (lambda envs: EveryK(envs, 2), lambda envs: PotentialShaping(envs, 1.0)):
        agent = Reinforce(wrap(make_envs(task, 4)), baseline="greedy", episodes_per_update=6)
        found = agent.greedy_responses(rollout)
        assert torch.equal(found.episodes.tokens, expected.episodes.tokens)
        assert not torch.allclose(found.episodes.rewards, expected.episodes.rewards)
        totals = [answers.returns(1.0, "decision")["return"] for answers in (found, expected)]
        assert torch.allclose(*totals, atol=1e-4)


@pytest.mark.parametrize("wrap", [lambda envs: envs, SequenceBandit, lambda e: MacroAction(e, 2)])
@pytest.mark.parametrize("kl_penalty", ["reference", "sampled"])
def test_greedy_decoding_and_stepping_agree(wrap: Any, kl_penalty: str) -> None:
    task = tiny_gpt2_task()
    envs = wrap(make_envs(task, 2, kl_penalty=kl_penalty))
    policy = Policy(tiny_gpt2(seed=1), 32, temperature=0.7)
    fast = collect(envs, policy, 3, prompts=task.prompts, greedy=True)
    stepped = collect(envs, policy, 3, prompts=task.prompts, greedy=True, fast=False, seed=5)
    assert torch.equal(fast.tokens, stepped.tokens)
    assert torch.equal(fast.decision, stepped.decision)
    assert torch.allclose(fast.logprobs, stepped.logprobs, atol=1e-4)
    assert torch.allclose(fast.rewards.sum(1), stepped.rewards.sum(1), atol=1e-4)
    described = policy.evaluate_episodes(fast.tokens, fast.is_action).logprobs
    assert torch.allclose(fast.logprobs, described, atol=1e-4)


def test_greedy_tokens_are_the_most_likely(toy15: Task) -> None:
    """Of the reference's 0.502483, 0.108773, 0.388744 at the root, and log 0.502483 for it."""
    rollout = collect(make_envs(toy15), Policy(toy15.reference, 3), 4, greedy=True)
    assert rollout.tokens[rollout.is_action].tolist() == [0] * 4
    assert add_policy_logprob(rollout, 0.5).rewards[:, -1].tolist() == pytest.approx(
        [0.25] * 4, abs=1e-6
    )
    assert rollout.logprobs[rollout.is_action].tolist() == pytest.approx([-0.688194] * 4, abs=1e-6)


def test_only_a_policy_can_be_greedy(toy15: Task) -> None:
    agent = toy_agent("none")
    with pytest.raises(ValueError, match="greedy needs a Policy, got Reinforce"):
        collect(make_envs(toy15), agent, 2, greedy=True)


@pytest.mark.parametrize("baseline", BASELINES)
def test_truncated_episodes_need_a_critic(baseline: str) -> None:
    """Trap C1: V is 2 everywhere, the rewards are nothing."""
    agent = toy_agent(baseline)
    with torch.no_grad():
        agent.policy.value_head.bias.fill_(2.0)
    episodes = every_toy15_episode(agent)
    truncated = episodes.replace(
        rewards=torch.zeros_like(episodes.rewards), terminated=torch.arange(15) != 7
    )
    if baseline == "value":
        advantages = targets_of(agent, truncated).advantages
        assert advantages[7].tolist() == [0.0] * 3
        assert advantages[8].tolist() == [-2.0] * 3
    else:
        with pytest.raises(ValueError, match=f'baseline="{baseline}" has no critic to bootstrap'):
            targets_of(agent, truncated)


def test_another_baseline_is_refused() -> None:
    with pytest.raises(ValueError, match=r"baseline must be .*got .mean."):
        toy_agent("mean")


@pytest.mark.parametrize("baseline", BASELINES)
def test_a_fresh_policy_has_moved_nowhere(baseline: str) -> None:
    """Traps A1 and A4: dropout in the model, another temperature, several passes."""
    agent = Reinforce(
        make_envs(tiny_gpt2_task(dropout=0.1), 8),
        learning_rate=0.0,
        temperature=0.7,
        episodes_per_update=16,
        epochs=2,
        minibatches=2,
        baseline=baseline,
    )
    metrics = agent.learn(16, progress=False)[-1]
    assert metrics["ratio_max"] == pytest.approx(1.0, abs=1e-6)
    assert metrics["clip_fraction"] == 0.0


@pytest.mark.parametrize("baseline", BASELINES)
@pytest.mark.parametrize(
    "wrap", [SequenceBandit, lambda envs: MacroAction(envs, 2), lambda envs: EveryK(envs, 2)]
)
def test_it_runs_at_every_granularity_and_density(baseline: str, wrap: Any) -> None:
    envs = wrap(make_envs(tiny_gpt2_task(horizon=4), 8))
    agent = Reinforce(envs, episodes_per_update=8, baseline=baseline)
    assert agent.learn(16, progress=False)[-1]["gradient_norm"] > 0


@pytest.mark.parametrize("baseline", BASELINES)
def test_it_comes_close_to_the_optimum_in_a_hundred_updates(toy15: Task, baseline: str) -> None:
    envs = make_envs(toy15, 32)
    agent = Reinforce(envs, learning_rate=0.05, episodes_per_update=32, baseline=baseline)
    agent.learn(3200, progress=False)
    assert evaluate(toy15, agent, kl_coef=0.5).objective / 1.125295 >= 0.95
