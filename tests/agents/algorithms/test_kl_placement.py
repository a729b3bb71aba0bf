"""Where the KL stands decides where training ends: exact gradients and fixed points of "toy15"."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from agents import GRPO, PPO, Agent
from agents.rollouts.kl_reward import learned_kl
from rlhf_env.exact import evaluate
from rlhf_env.kl import k2, k3
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
from tests.rlhf_env.toy15_tables import ACTIONS, action_logprobs
from tests.toys import theta_policy


def agent_with(
    task: Task, placement: str, estimator: str, kl_coef: float = 0.5, **settings: Any
) -> PPO:
    return PPO(
        make_envs(task, kl_coef=kl_coef),
        kl_placement=placement,
        kl_estimator=estimator,
        gae_lambda=1.0,
        whiten_advantages=False,
        value_coef=0.0,
        **settings,
    )


def learned_episodes(agent: Agent, *, whole: bool) -> Rollout:
    """All responses, as tokens or as one decision each, with the KL where the agent has it."""
    config, episodes = agent.config, every_toy15_episode(agent)
    episodes = as_bandit(episodes) if whole else episodes
    return learned_kl(episodes, config.kl_placement, config.kl_estimator)


def reached(logprobs: Tensor) -> Tensor:
    """[7] the probability of coming to each state under a table of log-probabilities [3, 7]."""
    found = [1.0] + [0.0] * 6
    for state, following in {0: (1, 2), 1: (3, 4), 2: (5, 6)}.items():
        for token, child in enumerate(following, start=1):
            found[child] = found[state] * logprobs[token, state].exp().item()
    return torch.tensor(found, dtype=logprobs.dtype)


def ascend(agent: Agent, steps: int, *, whole: bool) -> None:
    """Follow the expected gradient exactly, scaled by how often actions are taken.

    A positive scale moves none of the gradient's zeros, and makes dozens of steps of thousands.
    """
    (table,) = agent.policy.model.parameters()
    (reference,) = agent.base.task.reference.parameters()
    ref = reference.detach().double().log_softmax(dim=0)
    for _ in range(steps):
        slope = expected_gradient(agent, learned_episodes(agent, whole=whole)).double()
        own = table.detach().double().log_softmax(dim=0)
        scale = reached(own) * own.exp()
        if agent.config.kl_estimator == "k3":
            # Its curvature is that of the forward KL, which the reference's actions make.
            scale = scale + (reached(own) + reached(ref)) * ref.exp()
        with torch.no_grad():
            table.add_((slope / scale).clamp(-1.0, 1.0).float())


@pytest.mark.parametrize(
    ("placement", "estimator", "whole", "end"),
    [
        ("reward", "k1", False, (1.125294, 2.375837, 2.501086)),
        ("reward", "k1", True, (1.125294, 2.375837, 2.501086)),
        ("loss", "k2", False, (1.104616, 2.526085, 2.842938)),
        ("loss", "k2", True, (1.125294, 2.375837, 2.501086)),
        ("loss", "k3", False, (1.087528, 2.057728, 1.940399)),
    ],
)
def test_each_placement_has_its_own_end(
    toy15: Task, placement: str, estimator: str, whole: bool, end: tuple[float, float, float]
) -> None:
    """Trap D5: J, reward and KL."""
    agent = agent_with(toy15, placement, estimator)
    ascend(agent, 150 if estimator == "k3" else 30, whole=whole)
    found = evaluate(toy15, agent, kl_coef=0.5)
    assert (found.objective, found.reward, found.kl) == pytest.approx(end, abs=1e-3)


def test_k3_in_the_loss_of_whole_responses(toy15: Task) -> None:
    """Trap D5."""
    agent = agent_with(toy15, "loss", "k3")
    ascend(agent, 150, whole=True)
    assert evaluate(toy15, agent, kl_coef=0.5).objective == pytest.approx(1.025189, abs=1e-3)


def test_k1_in_the_loss_holds_nothing_back(toy15: Task) -> None:
    """Traps D3 and D5: the reward's maximum is 3, far from the reference."""
    agent = agent_with(toy15, "loss", "k1")
    ascend(agent, 40, whole=False)
    found = evaluate(toy15, agent, kl_coef=0.5)
    assert found.reward > 2.99
    assert found.kl > 4.1


@pytest.mark.parametrize(
    ("placement", "estimator", "whole", "norm", "to_truth"),
    [
        ("reward", "k1", False, 0.067033, 1.0),
        ("reward", "k1", True, 0.067033, 1.0),
        ("loss", "k2", False, 0.070368, 0.999240),
        ("loss", "k2", True, 0.067033, 1.0),
        ("loss", "k3", False, 0.071295, 0.997474),
        ("loss", "k3", True, 0.073338, 0.998964),
    ],
)
def test_gradients_of_the_penalty_alone(
    toy15: Task, placement: str, estimator: str, whole: bool, norm: float, to_truth: float
) -> None:
    """Trap D4: the score is 0 and beta is 1."""
    settings = {"kl_coef": 1.0, "policy": theta_policy(toy15)}
    truth = penalty_gradient(agent_with(toy15, "reward", "k1", **settings), whole=False)
    settings["policy"] = theta_policy(toy15)
    found = penalty_gradient(agent_with(toy15, placement, estimator, **settings), whole=whole)
    assert truth.norm().item() == pytest.approx(0.067033, abs=1e-6)
    assert found.norm().item() == pytest.approx(norm, abs=1e-6)
    assert cosine(found, truth) == pytest.approx(to_truth, abs=1e-6)


def test_k1_in_the_loss_has_no_gradient(toy15: Task) -> None:
    """Trap D3."""
    agent = agent_with(toy15, "loss", "k1", kl_coef=1.0, policy=theta_policy(toy15))
    assert penalty_gradient(agent, whole=False).norm().item() < 1e-7


def penalty_gradient(agent: Agent, *, whole: bool) -> Tensor:
    episodes = learned_episodes(agent, whole=whole)
    unscored = episodes.with_term("score", torch.zeros_like(episodes.rewards))
    return expected_gradient(agent, unscored)


def test_k3_times_the_ratio_pulls_like_k2(toy15: Task) -> None:
    """Trap D6: on the policy's own episodes, token by token."""
    policy = theta_policy(toy15).double()
    reference = action_logprobs(toy15.reference)
    slopes = []
    for is_weighed in (True, False):
        logprobs = action_logprobs(policy)
        ratio = (logprobs - logprobs.detach()).exp()
        estimate = ratio * k3(logprobs, reference) if is_weighed else k2(logprobs, reference)
        probability = logprobs.detach().sum(dim=1).exp()
        (slope,) = torch.autograd.grad(
            (probability[:, None] * torch.where(ACTIONS >= 0, estimate, 0.0)).sum(),
            list(policy.parameters()),
        )
        slopes.append(slope)
    assert (slopes[0] - slopes[1]).abs().max().item() < 1e-14
    assert slopes[0].norm().item() == pytest.approx(0.070368, abs=1e-6)


@pytest.mark.parametrize("kind", [PPO, GRPO])
@pytest.mark.parametrize("placement", ["reward", "loss"])
def test_the_coefficient_travels_with_the_rollout(
    toy15: Task, kind: type[Agent], placement: str
) -> None:
    """Trap D8: a controller moves on between collecting and learning."""
    settings = {"kl_placement": placement, "kl_estimator": "k1" if placement == "reward" else "k2"}
    results = []
    for moves_on in (False, True):
        agent = kind(
            make_envs(toy15, 16, kl_coef=0.5),
            policy=theta_policy(toy15),
            episodes_per_update=16,
            **settings,
        )
        rollout = agent.collect()
        if moves_on:
            agent.kl_coef = 9.0
        results.append((agent.update(rollout), next(agent.policy.model.parameters())))
        kl = (rollout.logprobs - rollout.ref_logprobs).sum(dim=1)
        paid = rollout.score - (0.5 * kl if placement == "reward" else 0.0)
        assert results[-1][0]["return"] == pytest.approx(paid.mean().item(), abs=1e-5)
        assert rollout.kl_coef is not None
        assert rollout.kl_coef.tolist() == [0.5] * 16
    assert torch.equal(results[0][1], results[1][1])


@pytest.mark.parametrize("placement", ["reward", "loss"])
def test_a_record_without_its_coefficient_was_paid_with_the_environment_s(placement: str) -> None:
    found = []
    for is_told in (True, False):
        envs = make_envs(load_task("toy15"), 8, kl_coef=0.5)
        agent = GRPO(envs, episodes_per_update=16, kl_placement=placement)
        rollout = agent.collect()
        told = rollout if is_told else rollout.replace(kl_coef=None)
        found.append(
            agent.update(told) | {"weight": next(agent.policy.parameters()).detach().sum().item()}
        )
    assert found[0] == found[1]
