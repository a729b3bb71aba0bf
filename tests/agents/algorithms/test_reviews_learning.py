"""The agents on a real, if small, language model and a learned reward."""

from __future__ import annotations

import gymnasium as gym
import pytest

from agents import GRPO, PPO, Agent


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "updates"), [(PPO, 40), (GRPO, 40)])
def test_proxy_rises_by_a_standard_deviation_and_gold_with_it(
    kind: type[Agent], updates: int
) -> None:
    envs = gym.make_vec("RLHF-v0", num_envs=64, task="reviews")
    agent = kind(envs, episodes_per_update=64, seed=1)
    agent.learn(64 * updates, progress=False)
    after = agent.evaluate(256)
    # One standard deviation of the reference's scores; its mean is 0 by normalization.
    assert after["score"] - after["reference_score"] >= after["reference_score_sd"]
    assert 0.9 < after["reference_score_sd"] < 1.1
    assert after["gold"] > after["reference_gold"] + 0.3
    assert 0.5 < after["kl_exact"] < 20
    assert after["eos_rate"] > 0.95
