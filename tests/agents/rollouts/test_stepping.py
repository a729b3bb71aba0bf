"""Rollouts that must be stepped: foreign wrappers, and agents of somebody's own."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers.vector import RecordEpisodeStatistics, TransformReward

from agents import Policy, collect, train
from agents.rollouts.collect import rollout_transforms
from rlhf_env.rollout import Rollout
from tests.agents.episodes import make_envs
from tests.toys import tiny_gpt2, tiny_gpt2_task
from wrappers.vector import HiddenState


def test_foreign_wrappers_are_stepped_and_believed() -> None:
    task = tiny_gpt2_task()
    policy = Policy(tiny_gpt2(seed=1), 32)
    plain = collect(make_envs(task, 5), policy, 12, seed=3)
    envs = TransformReward(RecordEpisodeStatistics(make_envs(task, 5)), lambda r: r + 1.0)
    assert rollout_transforms(envs) is None
    rollout = collect(envs, policy, 12, seed=3)
    assert torch.equal(rollout.tokens, plain.tokens)
    assert torch.allclose(rollout.rewards, plain.rewards + plain.is_action, atol=1e-4)
    assert torch.allclose(rollout.reward_terms["other"], plain.is_action.float(), atol=1e-4)


def test_a_wrapper_that_changes_actions_needs_an_agent_that_knows_it() -> None:
    envs = make_envs(tiny_gpt2_task(), 2)
    envs.single_action_space = gym.spaces.Discrete(4)
    with pytest.raises(ValueError, match=r"chooses among 32 tokens, got actions Discrete\(4\)"):
        collect(envs, Policy(tiny_gpt2(seed=1), 32), 2, fast=False)


class Insistent:
    """An agent of somebody's own: the same token for all, and a count of what it was shown."""

    def __init__(self, token: int) -> None:
        self.token = token
        self.seen: list[Rollout] = []

    def act(self, observation: dict[str, np.ndarray]) -> tuple[Any, Any]:
        count = len(observation["input_ids"])
        return [self.token] * count, [-0.5] * count

    def update(self, rollout: Rollout) -> dict[str, float]:
        self.seen.append(rollout)
        return {"shown": float(len(rollout))}


def test_an_agent_of_your_own_is_trained() -> None:
    agent = Insistent(token=5)
    history = train(
        agent, make_envs(tiny_gpt2_task(), 3), 12, episodes_per_update=6, progress=False
    )
    assert [row["shown"] for row in history] == [6.0, 6.0]
    assert [row["score"] for row in history] == pytest.approx([7.2, 7.2])
    for rollout in agent.seen:
        assert rollout.response_lengths.tolist() == [8] * 6
        assert rollout.tokens[rollout.is_action].unique().tolist() == [5]
        assert rollout.logprobs[rollout.is_action].unique().tolist() == [-0.5]


class Blind:
    """Acts on hidden states: the token whose number is the sign of the first."""

    def act(self, observation: np.ndarray) -> tuple[Any, Any]:
        assert observation.ndim == 2
        return np.where(observation[:, 0] > 0, 5, 6), np.full(len(observation), -0.5)


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.DISABLED])
def test_an_agent_that_sees_hidden_states_is_recorded(mode: AutoresetMode) -> None:
    task = tiny_gpt2_task()
    envs = HiddenState(make_envs(task, 3, autoreset_mode=mode))
    rollout = collect(envs, Blind(), 7, seed=0)
    assert len(rollout) == 7
    assert set(rollout.tokens[rollout.is_action].tolist()) <= {5, 6}
    assert rollout.response_lengths.tolist() == [task.max_new_tokens] * 7
    known = envs.unwrapped.evaluate(rollout)  # type: ignore[union-attr]
    assert torch.allclose(known.ref_logprobs, rollout.ref_logprobs, atol=1e-4)
    assert torch.allclose(known.score, rollout.score, atol=1e-5)


def test_a_policy_reads_tokens_whatever_a_wrapper_shows() -> None:
    task, policy = tiny_gpt2_task(), Policy(tiny_gpt2(seed=1), 32)
    plain = collect(make_envs(task, 3), policy, 7, seed=0)
    hidden = collect(HiddenState(make_envs(task, 3)), policy, 7, seed=0, fast=False)
    assert torch.equal(plain.tokens, hidden.tokens)
    assert torch.allclose(plain.rewards, hidden.rewards, atol=1e-4)


def test_what_a_reset_hides_is_said() -> None:
    envs = HiddenState(make_envs(tiny_gpt2_task(), 3, autoreset_mode=AutoresetMode.SAME_STEP))
    with pytest.raises(ValueError, match='has reset the row; use "NextStep"'):
        collect(envs, Blind(), 7, seed=0)
