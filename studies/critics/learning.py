"""The first updates of one training run, exactly."""

from __future__ import annotations

from typing import Any

import gymnasium as gym

from agents import PPO
from rlhf_env.exact import evaluate, solve
from rlhf_env.tasks import load_task
from studies.critics.settings import ARMS, LEARNING_RATE, POLICY, Job
from studies.statistics.arrival import gained_share

Row = dict[str, Any]


def learn(job: Job) -> list[Row]:
    """Train, and look at the policy after every update of it, and at the critic before.

    Returns:
        One row for each update of the policy: ``episodes`` drawn until then, those of a warm-up
        included; what was ``gained``, (J − J_ref) / (J* − J_ref); and how far the critic was from
        the exact values when the update was made.
    """
    task = load_task(job.task, policy=POLICY)
    envs: Any = gym.make_vec("RLHF-v0", num_envs=job.episodes, task=task)
    agent = PPO(
        envs,
        episodes_per_update=job.episodes,
        learning_rate=LEARNING_RATE,
        critic_truth=True,
        seed=job.seed,
        **ARMS[job.arm],
    )
    best = solve(task, task.kl_coef).objective
    start = evaluate(task, task.reference, task.kl_coef).objective
    rows = []
    while len(rows) < job.updates:
        metrics = agent.update(agent.collect())
        if metrics.get("is_warmup"):
            continue
        objective = evaluate(task, agent.policy.model, task.kl_coef).objective
        rows.append(
            {
                "task": job.task,
                "arm": job.arm,
                "seed": job.seed,
                "update": len(rows) + 1,
                "episodes": agent.episodes,
                "gained": float(gained_share(objective, start, best)),
                "critic_bias": metrics["critic_bias"],
                "critic_rmse": metrics["critic_rmse"],
                "critic_explained_variance": metrics["critic_explained_variance"],
            }
        )
    return rows
