"""A language model under Stable-Baselines3's agents, and its arithmetic against ours."""

from __future__ import annotations

import doctest
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.buffers import RolloutBuffer

import agents.stable_baselines3
from agents.math import gae
from agents.stable_baselines3 import CausalLMPolicy
from rlhf_env.exact import evaluate
from rlhf_env.tasks import load_task
from tests.agents.episodes import make_envs
from tests.toys import tiny_llama_task
from wrappers.stable_baselines3 import VecEnv


@pytest.mark.parametrize("kind", [PPO, A2C])
def test_it_learns_under_an_unmodified_agent(kind: Any) -> None:
    """J of "toy15" at beta 0.5: 0.039595 for the reference, 1.125295 for the optimum."""
    task = load_task("toy15")
    agent = kind(
        CausalLMPolicy,
        VecEnv(make_envs(task, 16, kl_coef=0.5)),
        n_steps=32,
        gamma=1.0,
        ent_coef=0.5,
        learning_rate=0.05,
        seed=0,
        policy_kwargs={"model": task.reference},
        device="cpu",
    )
    agent.learn(32 * 16 * 12)
    distribution = {}

    def policy(prefix: tuple[int, ...]) -> list[float]:
        ids = torch.tensor([[int(task.prompts[0][0]), *prefix]])
        observation = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        with torch.no_grad():
            distribution[prefix] = agent.policy._judge(observation)[0].probs[0].tolist()
        return distribution[prefix]

    assert evaluate(task, policy, kl_coef=0.5).objective > 0.8


def test_it_saves_and_loads(tmp_path: Path) -> None:
    task = tiny_llama_task()
    envs = VecEnv(make_envs(task, 4))
    settings: dict[str, Any] = {"n_steps": 8, "batch_size": 16, "seed": 0, "device": "cpu"}
    agent = PPO(CausalLMPolicy, envs, policy_kwargs={"model": task.reference}, **settings)
    before = [p.clone() for p in task.reference.parameters()]
    agent.learn(64)
    agent.save(tmp_path / "agent")
    again = PPO.load(tmp_path / "agent", envs)
    observation = envs.reset()
    ours, theirs = (a.predict(observation, deterministic=True)[0] for a in (agent, again))
    np.testing.assert_array_equal(ours, theirs)
    for old, new in zip(before, task.reference.parameters(), strict=True):
        assert torch.equal(old, new)


def test_other_spaces_are_refused() -> None:
    task = tiny_llama_task()
    with pytest.raises(ValueError, match="CausalLMPolicy reads input_ids and attention_mask"):
        CausalLMPolicy(
            spaces.Box(-1.0, 1.0, (4,)),
            spaces.Discrete(4),
            lambda progress: 1e-3,
            model=task.reference,
        )


def test_the_example_of_its_documentation_runs() -> None:
    assert doctest.testmod(agents.stable_baselines3).failed == 0


@pytest.mark.parametrize("seed", range(5))
def test_gae_is_that_of_stable_baselines3(seed: int) -> None:
    """One long row of episodes there is one row per episode here, terminated or truncated."""
    rng = np.random.default_rng(seed)
    steps, gamma, gae_lambda = 40, 0.97, 0.9
    ends = np.append(rng.random(steps - 1) < 0.25, True)
    truncated = ends & (rng.random(steps) < 0.5)
    rewards, values = rng.normal(size=(2, steps)).astype(np.float32)
    bootstrap = rng.normal(size=steps).astype(np.float32)
    buffer = RolloutBuffer(
        steps,
        spaces.Box(-1.0, 1.0, (1,)),
        spaces.Discrete(2),
        device="cpu",
        gamma=gamma,
        gae_lambda=gae_lambda,
    )
    starts = np.append(True, ends[:-1])
    for t in range(steps):
        # Its agents add the discounted value of what a truncated row saw last to the reward.
        paid = rewards[t] + gamma * bootstrap[t] * truncated[t]
        value = torch.tensor([values[t]])
        nothing = np.zeros((1, 1))
        buffer.add(nothing, nothing, np.array([paid]), starts[t : t + 1], value, torch.zeros(1))
    buffer.compute_returns_and_advantage(torch.zeros(1), np.array([True]))
    bounds = np.append(0, ends.nonzero()[0] + 1)
    for begin, end in pairwise(bounds.tolist()):
        found = gae(
            torch.from_numpy(rewards[None, begin:end]),
            torch.from_numpy(values[None, begin:end]),
            torch.ones(1, end - begin, dtype=torch.bool),
            torch.tensor([bootstrap[end - 1] if truncated[end - 1] else 0.0]),
            gamma,
            gae_lambda,
        )
        np.testing.assert_allclose(found[0], buffer.advantages[begin:end, 0], atol=1e-5)
