"""Stable-Baselines3's own PPO, with its own MLP, learns to write restaurant reviews.

Two wrappers make writing a problem that it knows: the observation becomes the reference model's
last hidden state, a vector, and the action one of the reference's k most probable tokens. Run it
with

    python examples/sb3_on_text.py
    python examples/sb3_on_text.py --steps 1024
"""

from __future__ import annotations

import argparse
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from stable_baselines3 import PPO

from rlhf_env import Task, load_task
from wrappers.stable_baselines3 import VecEnv
from wrappers.vector import HiddenState, TopKActions

ROWS = 16
TOKENS_PER_ROW = 64


def make_envs(task: Task) -> VecEnv:
    """Return the reviews as a problem of vectors and ranks; rank 0 is the likeliest token."""
    envs = gym.make_vec("RLHF-v0", num_envs=ROWS, task=task)
    return VecEnv(HiddenState(TopKActions(envs, k=8, always_eos=True)))


def mean_score(agent: PPO, envs: VecEnv, task: Task, episodes: int) -> tuple[float, str]:
    """Return the mean score of some finished reviews, and the last of them as text."""
    envs.seed(0)
    observation: Any = envs.reset()
    scores: list[float] = []
    written: list[list[int]] = [[] for _ in range(ROWS)]
    text = ""
    while len(scores) < episodes:
        actions, _ = agent.predict(observation)
        observation, _, dones, infos = envs.step(np.asarray(actions))
        for row, (is_over, info) in enumerate(zip(dones, infos, strict=True)):
            written[row].append(int(info["token"]))
            if is_over:
                scores.append(float(info["score"]))
                text, written[row] = task.decode(torch.tensor(written[row])), []
    return float(np.mean(scores)), text


def main(steps: int, seed: int = 0) -> tuple[float, float]:
    """Train for some tokens, and return the mean score before and after."""
    task = load_task("reviews")
    envs = make_envs(task)
    settings: dict[str, Any] = {"n_steps": TOKENS_PER_ROW, "batch_size": 256, "n_epochs": 4}
    # The entropy bonus stands for the policy's half of the KL penalty, see docs/wrappers.md.
    settings |= {"gamma": 1.0, "ent_coef": task.kl_coef, "seed": seed, "device": "cpu"}
    agent = PPO("MlpPolicy", envs, **settings)
    before, _ = mean_score(agent, envs, task, episodes=128)
    agent.learn(steps)
    after, text = mean_score(agent, envs, task, episodes=128)
    print(f"mean score {before:+.2f} before, {after:+.2f} after {steps} tokens\n  {text!r}")
    return before, after


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=32_768, help="tokens to write")
    parser.add_argument("--seed", type=int, default=0)
    main(**vars(parser.parse_args()))
