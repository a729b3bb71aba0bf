"""Reinforcement learning: PPO trained against a judge, and the gold score meanwhile."""

from __future__ import annotations

import dataclasses

import gymnasium as gym
import torch

from agents import PPO
from agents.evaluation.evaluate import mean_exact_kl
from agents.evaluation.metrics import rollout_metrics
from rlhf_env import Task
from rlhf_env.rewards.protocol import Reward
from studies.overoptimization.best_of_n import Row
from studies.overoptimization.proxies import reference_sample
from studies.overoptimization.settings import Fitting, Learning
from studies.statistics.gao import RL
from wrappers.reward_terms.score_scale import ScoreScale
from wrappers.vector import NormalizeScore

_ROWS = 64


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scales:
    """The units in which the reference's responses have mean 0 and spread 1."""

    proxy: ScoreScale
    gold: ScoreScale


def measured_scales(judge: Reward, task: Task, fitting: Fitting, seed: int) -> Scales:
    """Measure both units on responses of the reference to training prompts."""
    assert task.gold is not None
    sample = reference_sample(task, fitting.reference, seed)
    proxy, gold = (
        ScoreScale(mean=float(scores.mean()), sd=float(scores.std(correction=0)))
        for scores in (judge(*sample).double(), task.gold(*sample).double())
    )
    return Scales(proxy=proxy, gold=gold)


def learning_rows(
    judge: Reward, task: Task, learning: Learning, scales: Scales, seed: int
) -> list[Row]:
    """Train PPO against a judge and return one row per rollout; the first is the reference's.

    Returns:
        ``method``, ``step`` (updates before the rollout), ``kl`` (exact at the visited states) and
        ``kl_k1`` (nats per response), ``proxy`` and ``gold``, ``length`` (tokens).
    """
    paid = dataclasses.replace(task, reward=judge)
    rows = min(learning.episodes, _ROWS)
    plain = gym.make_vec("RLHF-v0", num_envs=rows, task=paid, kl_coef=learning.kl_coef)
    envs = NormalizeScore(plain, mean=scales.proxy.mean, sd=scales.proxy.sd)
    agent = PPO(
        envs,
        learning_rate=learning.learning_rate,
        episodes_per_update=learning.episodes,
        seed=seed,
    )
    found: list[Row] = []
    for update in range(learning.updates):
        rollout = agent.collect()
        metrics = rollout_metrics(rollout, paid)
        with torch.no_grad():
            kl = mean_exact_kl(agent.policy, agent.base.mdp.reference, rollout)
        found.append(
            {
                "method": RL.name,
                "step": update,
                "kl": kl,
                "kl_k1": metrics["kl"],
                "proxy": metrics["score"],
                "gold": scales.gold.of(metrics["gold"]),
                "length": metrics["response_length"],
            }
        )
        if update + 1 < learning.updates:
            agent.update(rollout)
    return found
