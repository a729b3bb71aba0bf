"""The critic: on the policy's trunk, or with a trunk of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from agents import PPO
from rlhf_env.task import Task
from tests.agents.episodes import make_envs
from tests.agents.runs import assert_equal, make_agent, weights
from tests.toys import tiny_gpt2, tiny_gpt2_task

KINDS = ("shared", "separate")


def slopes_of_the_policy(critic: str, value_coef: float) -> list[Tensor]:
    """The policy's gradients after one step with a huge limit on their norm."""
    agent = PPO(
        make_envs(tiny_gpt2_task(), 8),
        policy=tiny_gpt2(seed=1),
        critic=critic,
        value_coef=value_coef,
        episodes_per_update=16,
        learning_rate=0.0,
        epochs=1,
        minibatches=1,
        max_grad_norm=1e9,
    )
    with torch.no_grad():
        agent.policy.value_head.weight.fill_(0.1)
    agent.update(agent.collect())
    return [p.grad for p in agent.policy.model.parameters() if p.grad is not None]


def test_the_value_loss_stays_out_of_a_separate_policy() -> None:
    assert_equal(slopes_of_the_policy("separate", 0.0), slopes_of_the_policy("separate", 100.0))
    without, with_ = (
        torch.cat([slope.flatten() for slope in slopes_of_the_policy("shared", coef)])
        for coef in (0.0, 100.0)
    )
    assert (without - with_).norm() > without.norm()


@pytest.mark.parametrize("critic", KINDS)
def test_it_says_nothing_at_first(critic: str) -> None:
    agent = make_agent(critic=critic)
    rollout = agent.collect()
    described = agent.policy.evaluate_episodes(rollout.tokens, rollout.is_action)
    assert not described.values.any()
    assert not described.last_values.any()
    assert (agent.policy.critic is None) == (critic == "shared")


def test_a_separate_critic_begins_as_the_policy_and_goes_its_own_way() -> None:
    agent = make_agent(critic="separate")
    critic = agent.policy.critic
    assert critic is not None
    own, policy = list(critic.parameters()), list(agent.policy.model.parameters())
    assert_equal([p.detach() for p in own], [p.detach() for p in policy])
    assert not {p.data_ptr() for p in own} & {p.data_ptr() for p in policy}
    agent.learn(8, progress=False)
    assert not all(torch.equal(a, b) for a, b in zip(own, policy, strict=True))


@pytest.mark.parametrize("critic", KINDS)
def test_it_comes_to_predict(toy15: Task, critic: str) -> None:
    agent = PPO(
        make_envs(toy15, 64),
        critic=critic,
        episodes_per_update=128,
        learning_rate=0.05,
    )
    rows = agent.learn(12 * 128, progress=False)
    assert rows[0]["explained_variance"] == pytest.approx(0.0, abs=1e-6)
    assert rows[-1]["explained_variance"] > 0.4


@pytest.mark.parametrize("critic", KINDS)
def test_it_is_saved(critic: str, tmp_path: Path) -> None:
    agent = make_agent(critic=critic)
    agent.learn(16, progress=False)
    agent.save(tmp_path / "a")
    loaded = PPO.load(tmp_path / "a", make_envs(tiny_gpt2_task()))
    assert_equal(weights(agent), weights(loaded))
    rollout = agent.collect()
    mine, yours = (
        one.policy.evaluate_episodes(rollout.tokens, rollout.is_action) for one in (agent, loaded)
    )
    assert mine.values.any()
    assert torch.equal(mine.values, yours.values)


def test_a_checkpoint_of_the_other_kind_is_refused(tmp_path: Path) -> None:
    make_agent(critic="shared").save(tmp_path / "a")
    with pytest.raises(ValueError, match="was made with critic = 'shared', got 'separate'"):
        make_agent(critic="separate").restore(tmp_path / "a")
