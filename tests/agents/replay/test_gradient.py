"""The expected gradient of an update with old episodes is the gradient of the objective."""

from __future__ import annotations

import copy
from typing import Any

import gymnasium as gym
import pytest
import torch
from torch import Tensor

from agents import RLOO, Agent, Reinforce, Replay, collect
from agents.exact_gradients import exact_gradients
from agents.exact_gradients.responses import every_response
from agents.gradients import true_gradient
from agents.replay.rows import present_beta
from rlhf_env.rollout import Rollout
from tests.agents.replay.rollouts import PAD

BETA = 0.3


def make_agent(kind: type[Agent], **settings: Any) -> Agent:
    """Return an agent that is neither the reference nor the policy that made the old episodes."""
    envs: Any = gym.make_vec("RLHF-v0", num_envs=8, task="toy15", kl_coef=BETA)
    policy = changed(envs.unwrapped.task.reference, seed=1)
    chosen = {"learning_rate": 0.0, "max_grad_norm": 1e9, "aggregation": "sum", **settings}
    return kind(envs, policy=policy, importance="sequence", **chosen)


def changed(model: Any, seed: int) -> Any:
    """Return a copy of a table with other logits."""
    other = copy.deepcopy(model).requires_grad_(True)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for table in other.parameters():
            table += 0.7 * torch.randn(table.shape, generator=generator)
    return other


def gradient_of_update(agent: Agent, fresh: Rollout, old: Rollout) -> Tensor:
    """Return the ascent direction of an update on fresh episodes and those of the buffer."""
    assert agent.replay is not None
    agent.replay.add(old, agent.updates, PAD)
    figures = agent.update(fresh)
    assert figures["replay_fraction"] == 0.5
    return -torch.cat([p.grad.flatten() for p in agent.policy.model.parameters()]).double()  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("kind", "settings", "size", "paid_with"),
    [
        (Reinforce, {"baseline": "none"}, 1, BETA),
        (Reinforce, {"baseline": "none"}, 1, 1.1),
        (RLOO, {"group_size": 2}, 2, 1.1),
    ],
)
def test_the_expectation_over_all_updates_is_the_true_gradient(
    kind: type[Agent], settings: dict[str, Any], size: int, paid_with: float
) -> None:
    # The gradient is a mean over rows, or groups, so the expectation over fresh and old episodes
    # is that over the fresh ones beside some old ones, plus that over old ones beside some fresh
    # ones, less those two together.
    replay = Replay(capacity=size, ratio=1)
    agent = make_agent(kind, episodes_per_update=size, replay=replay, **settings)
    model = agent.policy.model
    fresh = every_response(agent, model)
    past = every_response(agent, changed(agent.base.task.reference, seed=2))
    paid = present_beta(past.rollout, paid_with)
    cases = list(torch.cartesian_prod(*[torch.arange(15)] * size).reshape(-1, size))

    def group(rollout: Rollout, rows: Tensor) -> Rollout:
        return rollout.take(rows).replace(group=torch.zeros(size, dtype=torch.int64))

    first = gradient_of_update(agent, group(fresh.rollout, cases[7]), group(paid, cases[7]))
    expected = -first
    for rows in cases:
        weights = fresh.probability[rows].prod(), past.probability[rows].prod()
        both = (group(fresh.rollout, rows), group(paid, cases[7]))
        expected += weights[0] * gradient_of_update(agent, *both)
        both = (group(fresh.rollout, cases[7]), group(paid, rows))
        expected += weights[1] * gradient_of_update(agent, *both)
    truth = true_gradient(agent.base.task, agent, BETA)
    assert truth.norm() > 0.05
    assert (expected - truth).norm() < 1e-5 * truth.norm()


class FirstGroupOnly(Replay):
    """The fault of TRL's pull request 6821: only one group ever gets into the buffer."""

    def add(self, rollout: Rollout, update: int, pad_id: int) -> None:
        if not len(self):
            super().add(rollout.take(torch.arange(2)), update, pad_id)


def deviation(replay: Replay) -> float:
    """Return how far old episodes' mean gradient is from its exact expectation.

    The unit is the root of the variance that as many independent groups as were added leave, summed
    over weights, so a sound buffer is near 1.
    """
    agent = make_agent(RLOO, group_size=2, episodes_per_update=2)
    past = changed(agent.base.task.reference, seed=2)
    exact = exact_gradients(agent, behavior=past, is_stale=False)
    sampler = make_agent(RLOO, group_size=2, episodes_per_update=64)
    with torch.no_grad():
        for own, other in zip(sampler.policy.model.parameters(), past.parameters(), strict=True):
            own.copy_(other)
    updates, draws = 40, 80
    for update in range(updates):
        made = collect(agent.envs, sampler.policy, 64, seed=update, group_size=2)
        replay.add(made, update, PAD)
    total, drawn = torch.zeros_like(exact.expected), 0
    for update in range(updates, updates + draws):
        old = replay.draw(64, update, groups=True)
        assert old is not None
        count = len(old.rollout)
        agent.update(old.rollout)
        grads = [p.grad.flatten() for p in agent.policy.model.parameters()]  # type: ignore[union-attr]
        total, drawn = total - count * torch.cat(grads).double(), drawn + count
    # Drawing adds the noise of 32 groups a draw to that of the 32 groups an update stored.
    noise = exact.variance.sum() * (1 / 32 / updates + 1 / 32 / draws)
    return float((total / drawn - exact.expected).norm() / noise.sqrt())


def test_what_is_drawn_has_the_expected_gradient() -> None:
    assert deviation(Replay(capacity=10_000)) < 2


def test_a_buffer_of_one_group_is_found_out_by_its_gradient() -> None:
    assert deviation(FirstGroupOnly(capacity=10_000)) > 5
