"""Agents on "toy15" whose policy is the exact optimum, and whose value head has its values."""

from __future__ import annotations

from typing import Any

import torch

from agents.algorithm import take_rows
from agents.off_policy.agent import OffPolicyAgent
from rlhf_env.exact import solve
from rlhf_env.rollout import Rollout
from rlhf_env.tasks import load_task
from tests.agents.episodes import every_toy15_episode, make_envs

KL_COEF = 0.5


def toy_agent(kind: type[OffPolicyAgent], **settings: Any) -> Any:
    return kind(make_envs(load_task("toy15"), 16, kl_coef=KL_COEF), **settings)


def place_at_optimum(agent: OffPolicyAgent, kl_coef: float = KL_COEF) -> None:
    """Write pi* into the table and V* into the value head, for the agent's own discount."""
    best = solve(agent.base.task, kl_coef, agent.config.gamma)
    with torch.no_grad():
        (table,) = agent.policy.model.parameters()
        # The states are in the order of the columns.
        table.copy_(torch.tensor([best.policy[p] for p in best.policy]).log().T)
        agent.policy.value_head.weight.copy_(torch.tensor([list(best.values.values())]))


def loss_and_slope(agent: OffPolicyAgent, episodes: Rollout) -> tuple[float, float]:
    """The mean loss of some episodes, and the largest slope in any weight."""
    rule = agent.learner.algorithm
    old = agent.policy.sampler_only(episodes)
    targets = rule.targets(episodes, old, agent.base.mdp.reference)
    new = agent.policy.evaluate_tokens(episodes.tokens, episodes.is_action)
    losses, _ = rule.loss(episodes, new, old, targets)
    agent.policy.zero_grad()
    losses.mean().backward()
    slopes = [p.grad.abs().max() for p in agent.policy.parameters() if p.grad is not None]
    return float(losses.detach().mean()), float(torch.stack(slopes).max())


def every_episode(agent: OffPolicyAgent, seed: int = 0) -> Rollout:
    """All 15 responses in some proportion that is no policy's in particular."""
    generator = torch.Generator().manual_seed(seed)
    often = torch.randint(1, 4, (15,), generator=generator)
    return take_rows(every_toy15_episode(agent), torch.arange(15).repeat_interleave(often))
