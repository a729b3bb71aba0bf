"""A random agent writes restaurant reviews, one token at a time.

The loop is that of any Gymnasium environment: the observation is the prompt and the text so far,
the action is the next token. Run it with

    python examples/random_agent.py
    python examples/random_agent.py --task toy15 --episodes 2
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import torch

import rlhf_env  # noqa: F401  (registers RLHF-v0)


@dataclass(frozen=True, kw_only=True)
class Episode:
    """What is known at the end of one episode."""

    response: str
    score: float
    """What the reward model says of the whole response; paid with the last token."""
    rewards: list[float]
    """The reward of each step: the score at the last, and the KL penalty at all of them."""


def run_episode(env: Any, seed: int) -> Episode:
    """Choose tokens at random until the end token, or until the length limit."""
    _, info = env.reset(seed=seed)
    env.action_space.seed(seed)
    tokens, rewards, is_over = [], [], False
    while not is_over:
        action = env.action_space.sample()
        _, reward, terminated, truncated, info = env.step(action)
        tokens.append(int(action))
        rewards.append(float(reward))
        is_over = terminated or truncated
    response = env.unwrapped.task.decode(torch.tensor(tokens))
    return Episode(response=response, score=float(info["score"]), rewards=rewards)


def main(task: str, episodes: int) -> list[Episode]:
    """Run some episodes and print each."""
    env: Any = gym.make("RLHF-v0", task=task)
    print(f"{env.action_space.n} actions, observation {env.observation_space}")
    played = [run_episode(env, seed) for seed in range(episodes)]
    for episode in played:
        steps, total = len(episode.rewards), sum(episode.rewards)
        print(f"\nscore {episode.score:+.2f}, return {total:+.2f} in {steps} steps")
        print(f"  {episode.response!r}")
    return played


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", default="reviews")
    parser.add_argument("--episodes", type=int, default=3)
    main(**vars(parser.parse_args()))
