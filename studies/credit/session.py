"""The whole study: train, grade, write the rows, print the table."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import pandas as pd

from agents import PPO, Policy, collect
from rlhf_env.exact import evaluate, solve
from rlhf_env.files import write_atomically
from rlhf_env.tasks import load_task
from studies.credit.grading import causal_tokens, episode_aucs, mean_auc
from studies.credit.reward_model import learn_reward
from studies.credit.settings import Job, Study, jobs_of
from studies.credit.sources import credits
from studies.credit.tables import credit_table
from studies.execution.results import all_results
from studies.results.csv_files import as_csv

# Streams of random numbers of one seed, beside those of training.
COMPARED, GRADED = 101, 102
Row = dict[str, Any]


def run_study(study: Study, *, progress: bool = True) -> None:
    """Run everything; a file that is there is replaced.

    Raises:
        RuntimeError: if a job fails.
        OSError: if the file cannot be written.
    """
    study.out.mkdir(parents=True, exist_ok=True)
    rows = measure(study, progress=progress)
    write_atomically(study.out / "credit.csv", as_csv(rows))
    print(credit_table(rows))


def measure(study: Study, *, progress: bool = True) -> pd.DataFrame:
    """Return one row per task, number of updates, source and seed.

    Raises:
        RuntimeError: if a job fails.
    """
    jobs = jobs_of(study)
    grades = all_results(jobs, grade, study.jobs, _name, unit="agent", progress=progress)
    return pd.DataFrame([row for rows in grades for row in rows])


def _name(job: Job) -> str:
    return f"{job.task} with seed {job.seed}"


def grade(job: Job) -> list[Row]:
    """Train an agent, and grade the credit for its episodes after some numbers of updates."""
    study = job.study
    task = load_task(job.task, policy="timed_table")
    envs = gym.make_vec("RLHF-v0", num_envs=min(study.episodes, 64), task=task)
    reference = Policy(task.reference, task.vocab_size)
    compared = collect(envs, reference, 2 * study.pairs, seed=(job.seed, COMPARED))
    reward_model, accuracy = learn_reward(compared, task.vocab_size, job.seed)
    agent = PPO(
        envs,
        # A critic with an output for the score.
        gamma={"score": 1.0, "kl": 1.0},
        episodes_per_update=study.episodes,
        learning_rate=study.learning_rate,
        seed=job.seed,
    )
    best = solve(task, task.kl_coef).objective
    rows: list[Row] = []
    for updates in sorted(set(study.updates)):
        while agent.updates < updates:
            agent.update(agent.collect())
        seed = (job.seed, GRADED, updates)
        rollout = collect(envs, agent.policy, study.graded, seed=seed)
        causal = causal_tokens(task, rollout)
        objective = evaluate(task, agent.policy.model, task.kl_coef).objective
        found = credits(
            agent,
            rollout,
            reward_model,
            gae_lambdas=study.gae_lambdas,
            continuations=study.continuations,
            seed=seed,
        )
        for source, given in found.items():
            aucs = episode_aucs(given, causal, rollout.is_action)
            rows.append(
                {
                    "task": job.task,
                    "updates": updates,
                    "source": source,
                    "seed": job.seed,
                    "auc": mean_auc(aucs),
                    "episodes": len(aucs),
                    "causal_share": float(causal.sum() / rollout.is_action.sum()),
                    "j_ratio": objective / best,
                    "reward_accuracy": accuracy,
                }
            )
    return rows
