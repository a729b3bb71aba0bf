"""Gymnasium's own vector wrappers between the environment and our PPO."""

from __future__ import annotations

import gymnasium as gym
from gymnasium.wrappers.vector import ClipReward, RecordEpisodeStatistics

from agents import PPO
from rlhf_env.exact import evaluate
from rlhf_env.task import Task
from tests.clients.toy15_net import BETA, REFERENCE


def test_ppo_learns_through_wrappers_of_gymnasium(toy15: Task) -> None:
    envs = RecordEpisodeStatistics(ClipReward(gym.make_vec("RLHF-v0", 16, task=toy15), -9.0, 9.0))
    agent = PPO(envs, learning_rate=0.05, episodes_per_update=64, seed=0)
    agent.learn(total_episodes=64 * 15)
    assert evaluate(toy15, agent, kl_coef=BETA).objective > REFERENCE + 0.5
    assert len(envs.return_queue) == 100
    assert len(envs.length_queue) == 100
    assert all(1 <= length <= 3 for length in envs.length_queue)
    envs.close()
