"""DPO on comparisons by the proxy of "reviews", judged by the gold reward that nobody was shown."""

from __future__ import annotations

import math
import statistics

import gymnasium as gym
import pytest

from agents import DPO, ResponseGroup, collect
from rlhf_env.tasks import load_task

PAIRS, SEEDS = 2000, 5
# Of Student's t with four degrees of freedom, two-sided at 95 %.
QUANTILE = 2.776


def proxy_labeled_pairs(agent: DPO, seed: int) -> list[ResponseGroup]:
    """Draw pairs from the reference; a label is the probability by the proxy's scores."""
    rollout = collect(agent.envs, agent.policy, 2 * PAIRS, seed=(seed, 77), group_size=2)
    scores = rollout.score.double().view(PAIRS, 2)
    shares = (scores[:, 0] - scores[:, 1]).sigmoid().tolist()
    said = rollout.responses()
    return [
        ResponseGroup.pair(prompt, said[2 * i], said[2 * i + 1], p=shares[i])
        for i, prompt in enumerate(rollout.prompts()[::2])
    ]


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.filterwarnings("ignore:preferences left out:UserWarning")
def test_the_gold_reward_rises() -> None:
    envs = gym.make_vec("RLHF-v0", num_envs=64, task=load_task("reviews"))
    gains = []
    for seed in range(SEEDS):
        reference = DPO(envs, seed=seed)
        agent = DPO(
            envs,
            preferences=proxy_labeled_pairs(reference, seed),
            learning_rate=3e-4,
            beta=0.5,
            seed=seed,
        )
        agent.learn(passes=1, progress=False)
        after = agent.evaluate(256)
        gains.append(after["gold"] - after["reference_gold"])
    half = QUANTILE * statistics.stdev(gains) / math.sqrt(SEEDS)
    assert statistics.mean(gains) - half > 0.0
