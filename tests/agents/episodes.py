"""Environments, and all 15 episodes of "toy15" as one rollout."""

from __future__ import annotations

import dataclasses
from typing import Any

import gymnasium as gym
import torch
from torch import Tensor

from agents import Agent
from agents.rollouts.kl_reward import add_policy_logprob
from rlhf_env.rollout import Rollout
from rlhf_env.task import Task
from rlhf_env.vector_env import RLHFVectorEnv
from tests.rlhf_env.toy15_tables import ACTIONS, action_logprobs


def make_envs(task: Task, num_envs: int = 4, **options: Any) -> RLHFVectorEnv:
    return gym.make_vec("RLHF-v0", num_envs=num_envs, task=task, **options)  # type: ignore[return-value]


def every_toy15_episode(agent: Agent) -> Rollout:
    """All responses, paid by the environment and with the agent's part of the KL."""
    responses = torch.where(ACTIONS >= 0, ACTIONS, 0)
    prompt = agent.base.task.prompts[0].expand(15, 1)
    is_action = torch.cat([torch.zeros(15, 1, dtype=torch.bool), ACTIONS >= 0], dim=1)
    logprobs = torch.cat([torch.zeros(15, 1), action_logprobs(agent.policy.model).float()], dim=1)
    nothing = torch.zeros(15, 4)
    unpaid = Rollout(
        tokens=torch.cat([prompt, responses], dim=1),
        is_action=is_action,
        logprobs=logprobs.detach(),
        ref_logprobs=nothing,
        rewards=nothing,
        reward_terms={"score": nothing, "kl": nothing},
        score=torch.zeros(15),
        terminated=torch.ones(15, dtype=torch.bool),
        group=torch.zeros(15, dtype=torch.int64),
        prompt_index=torch.zeros(15, dtype=torch.int64),
        decision=torch.where(is_action, torch.arange(-1, 3), -1),
    )
    with agent.base.overridden(kl_coef=agent.kl_coef, temperature=agent.policy.temperature):
        return add_policy_logprob(agent.base.evaluate(unpaid))


def as_bandit(rollout: Rollout) -> Rollout:
    """The same episodes as one decision each."""
    return rollout.replace(decision=rollout.is_action.long() - 1)


def expected_gradient(agent: Agent, rollout: Rollout) -> Tensor:
    """[V, S] the ascent direction of an algorithm in expectation over all of the episodes.

    An episode's sum over decisions is weighted by its probability in place of the sampler's.
    """
    algorithm = agent.learner.algorithm
    old = agent.policy.evaluate_episodes(rollout.tokens, rollout.is_action)
    targets = algorithm.targets(rollout, old, agent.base.mdp.reference)
    probabilities = rollout.logprobs.sum(dim=1).exp()
    assert abs(probabilities.sum().item() - 1) < 1e-6
    targets = dataclasses.replace(targets, weight=probabilities)
    new = agent.policy.evaluate_tokens(rollout.tokens, rollout.is_action)
    losses, _ = algorithm.loss(rollout, new, old, targets)
    agent.policy.zero_grad()
    losses.sum().backward()
    (table,) = agent.policy.model.parameters()
    assert table.grad is not None
    return -table.grad


def cosine(left: Tensor, right: Tensor) -> float:
    return (left.flatten() @ right.flatten() / (left.norm() * right.norm())).item()
