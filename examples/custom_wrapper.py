"""A wrapper of your own: reviews are paid for calm, one penalty per exclamation mark.

The term is written once, as a function of token ids, and works for single environments, for vector
environments and for finished rollouts, so that training stays fast. Run it with

    python examples/custom_wrapper.py
    python examples/custom_wrapper.py --updates 2
"""

from __future__ import annotations

import argparse
from typing import Any

import gymnasium as gym
from gymnasium.vector import VectorEnv
from torch import Tensor

from agents import GRPO, collect
from rlhf_env import Task, load_task
from rlhf_env.rollout import Rollout
from wrappers.reward_terms import (
    RewardTerm,
    RewardTermWrapper,
    VectorRewardTermWrapper,
    token_term,
)


def word_penalty(word_id: int, coef: float) -> RewardTerm:
    """Return the term "calm": −coef at every token that is the word."""

    def paid(prompt: Tensor, response: Tensor) -> Tensor:
        # One number per token of the response, and none may depend on later tokens.
        return -coef * (response == word_id).double()

    return token_term("calm", paid)


class Calm(RewardTermWrapper):
    """Of a single environment: ``Calm(gym.make("RLHF-v0"), word_id, coef)``."""

    def __init__(self, env: gym.Env[Any, Any], word_id: int, coef: float) -> None:
        """Wrap an environment."""
        super().__init__(env, word_penalty(word_id, coef))


class VectorCalm(VectorRewardTermWrapper):
    """Of a vector environment."""

    def __init__(self, envs: VectorEnv, word_id: int, coef: float) -> None:
        """Wrap a vector environment."""
        super().__init__(envs, word_penalty(word_id, coef))


def step_once(word_id: int) -> list[float]:
    """Write the word twice in a single environment, and return the term of each step."""
    env = Calm(gym.make("RLHF-v0", task="reviews"), word_id, coef=1.0)
    env.reset(seed=0)
    return [float(env.step(word_id)[4]["reward_terms"]["calm"]) for _ in range(2)]


def marks_per_review(rollout: Rollout, word_id: int) -> float:
    """Return how often a response holds the word, on average."""
    return float(((rollout.tokens == word_id) & rollout.is_action).sum() / len(rollout))


def trained(task: Task, updates: int, word_id: int, coef: float) -> GRPO:
    """Return an agent that was trained with the wrapper."""
    envs = VectorCalm(gym.make_vec("RLHF-v0", num_envs=32, task=task), word_id, coef)
    agent = GRPO(envs, learning_rate=1e-3, episodes_per_update=64, group_size=8, seed=0)
    agent.learn(total_episodes=64 * updates, progress=False)
    return agent


def main(updates: int, coef: float) -> dict[str, float]:
    """Train without and with the penalty, and return the marks per review of each policy."""
    task = load_task("reviews")
    word_id = task.tokenizer.encode("!")[0]
    print(f"term of two exclamation marks: {step_once(word_id)}")
    marks = {}
    for name, number, paid in (
        ("reference", 0, 0.0),
        ("trained without", updates, 0.0),
        ("trained with", updates, coef),
    ):
        agent = trained(task, number, word_id, paid)
        rollout = collect(agent.envs, agent.policy, 256, seed=1)
        marks[name] = marks_per_review(rollout, word_id)
        score = float(rollout.score.mean())
        print(f"{name:16} {marks[name]:.3f} marks per review, score {score:+.2f}")
    return marks


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--updates", type=int, default=20)
    parser.add_argument("--coef", type=float, default=1.0, help="points per exclamation mark")
    main(**vars(parser.parse_args()))
