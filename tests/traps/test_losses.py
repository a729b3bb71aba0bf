"""Losses (traps E): defaults that are pinned, groups that teach nothing, answers that are none."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from agents import GRPO, PPO, Agent
from agents.algorithms.grpo import GRPOConfig
from agents.algorithms.surrogate import surrogate_loss
from agents.config import AgentConfig
from agents.settings.clip import Clip
from rlhf_env.task import Task
from tests.agents.algorithms.test_surrogate import targets
from tests.agents.episodes import make_envs
from tests.toys import FavoriteTokenReward, tiny_gpt2, tiny_gpt2_task


def agent_of(kind: type[Agent], reward: Any, **settings: Any) -> Agent:
    task = Task(**{**vars(tiny_gpt2_task()), "reward": reward})
    return kind(make_envs(task, 8), policy=tiny_gpt2(seed=1), episodes_per_update=16, **settings)


def test_groups_that_teach_nothing_are_counted() -> None:
    """Trap E12: all groups under equal rewards, none under random ones, half of them mixed."""

    def same(prompts: list[Tensor], responses: list[Tensor]) -> Tensor:
        return torch.ones(len(responses))

    agent = agent_of(GRPO, same, kl_coef=0.0)
    before = [parameter.clone() for parameter in agent.policy.parameters()]
    assert agent.learn(16, progress=False)[-1]["frac_reward_zero_std"] == 1.0
    for old, new in zip(before, agent.policy.parameters(), strict=True):
        assert torch.equal(old, new)
    other = agent_of(GRPO, same, kl_coef=0.0)
    rollout = other.collect()
    varied = torch.where(rollout.group == 0, torch.arange(16.0), 1.0)
    mixed = rollout.with_term("score", rollout.last_action * varied[:, None])
    assert other.update(mixed)["frac_reward_zero_std"] == 0.5
    last = agent_of(GRPO, FavoriteTokenReward()).learn(16, progress=False)[-1]
    assert last["frac_reward_zero_std"] == 0.0


@pytest.mark.parametrize("kind", [PPO, GRPO])
def test_one_nan_in_a_group_is_an_error(kind: type[Agent]) -> None:
    """Trap E13: the reward and the response are named, and no weight has moved."""

    def sloppy(prompts: list[Tensor], responses: list[Tensor]) -> Tensor:
        return torch.ones(len(responses)).index_fill(0, torch.tensor([2]), math.nan)

    agent = agent_of(kind, sloppy)
    before = [parameter.clone() for parameter in agent.policy.parameters()]
    with pytest.raises(ValueError, match=r"reward sloppy must return .* got nan for response 2"):
        agent.learn(16, progress=False)
    for old, new in zip(before, agent.policy.parameters(), strict=True):
        assert torch.equal(old, new)


def test_adam_s_epsilon_is_the_one_of_the_papers() -> None:
    """Trap E19: 1e-5, not PyTorch's 1e-8; and it is a setting."""
    assert (AgentConfig().adam_epsilon, GRPOConfig().adam_epsilon) == (1e-5, 1e-5)
    for settings, expected in (({}, 1e-5), ({"adam_epsilon": 1e-3}, 1e-3)):
        agent = agent_of(PPO, FavoriteTokenReward(), **settings)
        assert [group["eps"] for group in agent.learner.optimizer.param_groups] == [expected]


def test_an_absurd_ratio_is_reported() -> None:
    """Trap D12: one token of four whose log-ratio is 200; ½ 200² / 4 = 5000."""
    log_ratio = torch.tensor([[0.0, 200.0, 0.0, 0.0]], requires_grad=True)
    taken = targets(torch.ones(1, 4), torch.zeros(1, 4), torch.ones(1, 4, dtype=torch.bool))
    loss, metrics = surrogate_loss(log_ratio, taken, Clip(0.2, 0.2))
    loss.sum().backward()
    # Three ratios of 1, and one that is clipped at 1.2.
    assert loss.item() == pytest.approx(-1.05)
    assert log_ratio.grad is not None
    assert log_ratio.grad.tolist() == [[-0.25, 0.0, -0.25, -0.25]]
    assert metrics["clip_fraction"].item() == 0.25
    assert metrics["approx_kl"].item() == 5000.0
    assert metrics["ratio_max"].item() > 1e30
